using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.CommandLine.Volumes;

/// <summary>What the commands that change members have in common.</summary>
internal static class MemberChangeRun
{
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(300);

    public static Option<bool> Force() => new("--force") { Description = "Overwrite whatever the drive holds: file systems, partitions, other arrays." };

    /// <summary>A drive as the process understands it that serves the volume; the number of a member stays what it is.</summary>
    public static string Absolute(string drive) => ArrayVolume.IsNumber(drive, out _) ? drive : DriveList.ToAbsolute(drive);

    /// <summary>Changes members, of a volume that is served or of one that is not.</summary>
    public static async Task<int> RunAsync(ParseResult parsed, string name, MemberChange change, bool wait, bool json)
    {
        Terminal terminal = CommandSettings.Terminal(parsed);
        using HostDoor host = HostDoor.Open(parsed);
        using var interruption = new Interruption();
        var request = new ControlRequest
        {
            Command = change.Word, Drive = change.Drive, NewDrive = change.NewDrive, Force = change.Force, FailFirst = change.FailFirst,
            MoreDrives = change.MoreDrives, Level = change.Level,
        };
        int code;
        string done;

        // What was asked for is waited for, also after Ctrl-C: whether it was done must be known.
        if (await host.AskVolumeAsync(name, request, CancellationToken.None).ConfigureAwait(false) is { } response)
        {
            done = response.Message ?? string.Empty;
            Say(done);
            code = !wait || response.Role is not int role ? ExitCode.Ok
                : await FollowServedAsync(host, name, change, role, terminal, interruption.Token).ConfigureAwait(false);
        }
        else
        {
            (done, code) = await ChangeStoppedAsync(parsed, name, change, wait, Say, interruption.Token).ConfigureAwait(false);
        }

        if (json)
        {
            VolumeJson volume = await host.ShowVolumeAsync(name, _ => { }, CancellationToken.None).ConfigureAwait(false);
            terminal.WriteJson(volume with { Live = null, History = null, Message = done }, OutputJson.Default.VolumeJson);
        }

        return code;

        void Say(string text)
        {
            if (!json)
            {
                terminal.WriteLine(text);
            }
        }
    }

    /// <summary>Shows how far the rebuild is that another process carries.</summary>
    private static async Task<int> FollowServedAsync(
        HostDoor host, string name, MemberChange change, int role, Terminal terminal, CancellationToken interrupted) =>
        await FollowAsync(
            async () =>
            {
                ControlResponse? response = await host.AskVolumeAsync(
                    name, new ControlRequest { Command = "show" }, CancellationToken.None).ConfigureAwait(false);
                return response?.Live?.Array ?? throw new RefusalException(
                    RefusalKind.Failed, $"Volume '{name}' is not served any more. The rebuild goes on when it is served next.");
            },
            change,
            role,
            terminal,
            $"The rebuild goes on; 'polyblk volume show {name}' follows it.",
            interrupted).ConfigureAwait(false);

    /// <summary>Opens the volume, which nobody serves, and changes it.</summary>
    private static async Task<(string Done, int Code)> ChangeStoppedAsync(
        ParseResult parsed,
        string name,
        MemberChange change,
        bool wait,
        Action<string> say,
        CancellationToken interrupted)
    {
        StateDirectories directories = CommandSettings.Directories(parsed);
        Terminal terminal = CommandSettings.Terminal(parsed);
        return await StoppedVolume.ChangeAsync(
            directories,
            name,
            change,
            runsJobs: wait,
            () => LogSetup.CreateFactory(
                directories, name, CommandSettings.Level(parsed), parsed.GetValue(CommandSettings.Verbose)),
            terminal.Warn,
            async (done, look) =>
            {
                say(done.Message);
                int code = !wait || done.Role is not int role ? ExitCode.Ok : await FollowAsync(
                    () => Task.FromResult(look()),
                    change,
                    role,
                    terminal,
                    "The rest of the rebuild is left: it goes on when the volume is served, or by the same command.",
                    interrupted).ConfigureAwait(false);
                return (done.Message, code);
            },
            interrupted).ConfigureAwait(false);
    }

    /// <summary>Whether a member's drive is the one that was to come; drives of memory are all alike.</summary>
    private static bool IsNew(MemberJson member, MemberChange change)
    {
        var wanted = DriveList.ParseOne(change.NewDrive!);
        return wanted.IsVolatile || (member.Drive is string drive && new VolumeDrive(DriveList.ParseOne(drive), null).Is(wanted));
    }

    private static async Task<int> FollowAsync(
        Func<Task<ArrayJson>> look, MemberChange change, int role, Terminal terminal, string goesOn, CancellationToken interrupted)
    {
        string shown = string.Empty, halted = string.Empty;
        string? replaced = null;
        while (true)
        {
            ArrayJson array = await look().ConfigureAwait(false);
            MemberJson member = array.Members[role];
            if (!member.IsInUse)
            {
                throw new RefusalException(
                    RefusalKind.Failed,
                    $"The new drive has failed before it was filled. {string.Join(' ', array.Warnings)}".TrimEnd());
            }

            bool isReplaced = array.Replacement?.Role == role;
            if (member.State == MemberJson.Present && !isReplaced)
            {
                if (replaced is not null && !IsNew(member, change))
                {
                    throw new RefusalException(
                        RefusalKind.Failed,
                        $"The new drive has failed before it was filled, and {replaced} goes on. {string.Join(' ', array.Warnings)}".TrimEnd());
                }

                terminal.EndProgress($"The {(replaced is null ? "rebuild" : "replacement")} of member {role} is complete.");
                return ExitCode.Ok;
            }

            if (array.Warnings.FirstOrDefault(w => w.Contains("stands still", StringComparison.Ordinal)) is string halt && halt != halted)
            {
                terminal.EndProgress($"warning: {halt}");
                halted = halt;
            }

            replaced = isReplaced ? array.Replacement!.OldDrive : replaced;
            ProgressJson? progress = isReplaced ? array.Replacement!.Copy : array.Rebuild;
            string now = $"{(isReplaced ? "replacement" : "rebuild")}: {progress}";
            if (now != shown)
            {
                terminal.Progress(now, progress?.Percent ?? 0);
                shown = now;
            }

            try
            {
                await Task.Delay(s_look, interrupted).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                terminal.EndProgress(goesOn);
                return ExitCode.Interrupted;
            }
        }
    }
}
