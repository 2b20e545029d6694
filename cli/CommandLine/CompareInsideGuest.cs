// --inside-guest: the same comparison in a virtual machine of its own, whose kernel has ublk, VDUSE, md and the loop driver.
//
// The machine gets this program as it is installed here, the .NET runtime, and the programs that the comparison drives, each with
// its libraries. In it runs `polyblk compare` with the arguments of this one; it says its progress in lines, which move the bar
// here, and everything else that it prints is printed here. The result files come back as an archive. Scratch files lie in the
// machine's memory; with --dir on a disk of the machine, whose image lies there. Ctrl-C is handed on: the inner program ends as
// it would anywhere and writes what it has.

using System.CommandLine;
using System.Globalization;
using Polyblk.Cli.Output;
using Polyblk.Compare.Clients.Blkio;
using Polyblk.Compare.Measurement;
using Polyblk.Compare.Results;
using Polyblk.Compare.Verdict;
using Polyblk.Core.Interop;
using Polyblk.Host;
using Polyblk.Host.Serving;
using Polyblk.Machine;
using Spectre.Console;

namespace Polyblk.Cli.CommandLine;

/// <summary>Runs a comparison in a machine.</summary>
internal sealed class CompareInsideGuest(Terminal terminal, CompareGuestRequest guest)
{
    private const string Folder = "/tmp/out";
    private const string JobFolder = "/etc/fio";
    private const string ScratchFolder = "/scratch";

    /// <summary>Of the image, in members: more than all methods together make. It is sparse.</summary>
    private const int MembersOfImage = 64;

    // What the methods are made with; one that is not installed here has a row that says so.
    private static readonly string[] s_programs =
        ["qemu-storage-daemon", "vdpa", "mdadm", "losetup", "taskset", "setpriv", "mkfs.ext4", "mkfs.xfs", "mount", "umount", "blkdiscard", "blockdev"];

    /// <summary>Where scratch files that nobody sized stay small enough for the machine's memory.</summary>
    private const string DefaultMemberSize = "48MiB";
    private const long DefaultMemberBytes = 48L << 20;

    /// <summary>What a shell says of a program that SIGKILL ended.</summary>
    private const int KilledStatus = 137;

    private readonly List<string> _kept = [];
    private string _phase = "";
    private GuestVm? _machine;
    private NoiseMeter? _noise;
    private ForeignLoad? _others;

    /// <summary>Runs it and returns the inner program's exit code.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="ownOptions">The options that are about machines: not for the inner program.</param>
    /// <param name="interruption">Is handed on to the inner program.</param>
    public async Task<int> RunAsync(ParseResult parsed, IReadOnlyList<Option> ownOptions, Interruption interruption)
    {
        (string? outDirectory, string? jsonFile) = (parsed.GetValue<string?>("--out"), parsed.GetValue<string?>("--json"));
        MachineCache.OnProgress = terminal.Note;
        try
        {
            string command = InnerCommand(parsed, ownOptions, out IReadOnlyList<string> jobFiles);
            using ScratchImage? image = parsed.GetValue<string?>("--dir") is string place ? ScratchImage.Create(place, MembersOfImage * (parsed.GetValue<long?>("--member-size") ?? DefaultMemberBytes)) : null;
            GuestBuilder builder = Describe(command, jobFiles, image);
            GuestResult result;
            if (terminal.IsInteractive)
            {
                result = await terminal.Ansi.Progress().AutoClear(true).StartAsync(context => RunAsync(builder, context.AddTask("booting"), outDirectory, jsonFile, interruption))
                    .ConfigureAwait(false);
            }
            else
            {
                result = await RunAsync(builder, null, outDirectory, jsonFile, interruption).ConfigureAwait(false);
            }

            PrintKept();
            if (_others is not null && BusyMachine.WarningAfter(_others) is string busy)
            {
                terminal.Warn(busy);
            }

            return result.ExitStatus != KilledStatus
                ? result.ExitStatus
                : throw new RefusalException(RefusalKind.Failed, "The comparison was killed inside the virtual machine, which most likely ran out of memory: use a larger --guest-memory, "
                    + "fewer --methods, a smaller --member-size, or --simulated 0.");
        }
        catch (MachineException e)
        {
            throw new RefusalException(RefusalKind.HostLacks, e.Message, e);
        }
        catch (GuestException e)
        {
            throw new RefusalException(RefusalKind.Failed, $"The virtual machine did not do its work: {e.Message}", e);
        }
    }

    private async Task<GuestResult> RunAsync(GuestBuilder builder, ProgressTask? bar, string? outDirectory, string? jsonFile, Interruption interruption)
    {
        builder.Output(line => OnLine(line, bar));
        return await GuestAttempt.RunAsync(
            async attempt =>
            {
                ForgetKept();
                GuestVm machine = attempt.Start(builder);
                _machine = machine;
                using CancellationTokenRegistration handOn = interruption.Token.Register(() => _ = HandOnAsync(machine));
                GuestResult result = await machine.CompletionAsync().ConfigureAwait(false);
                await TakeResultsAsync(machine, outDirectory, jsonFile).ConfigureAwait(false);
                return result;
            },
            terminal.Note).ConfigureAwait(false);
    }

    private async Task HandOnAsync(GuestVm machine)
    {
        try
        {
            await machine.SendAsync("interrupt").ConfigureAwait(false);
        }
        catch (Exception e) when (e is OperationCanceledException or IOException)
        {
            // It is ending already: its end is reported by whoever waits for it.
            terminal.Note($"the virtual machine could not be told to end: {e.Message}");
        }
    }

    private void OnLine(string line, ProgressTask? bar)
    {
        ReadNoise();
        if (ProgressLine.TryParse(line, out ProgressLine? progress))
        {
            if (bar is not null)
            {
                bar.Description = Markup.Escape(progress.What);
                bar.MaxValue = Math.Max(1, progress.Total);
                bar.Value = progress.Done;
            }
            else
            {
                NotePhase(progress.What);
            }

            return;
        }

        // Under a progress bar nothing else is printed.
        lock (_kept)
        {
            _kept.Add(line);
            if (bar is null)
            {
                PrintKept();
            }
        }
    }

    /// <summary>
    /// What others take of this host's processors is not seen in the machine. It is read with each line, since QEMU has gone when
    /// the last has come.
    /// </summary>
    private void ReadNoise()
    {
        if (_noise is null && _machine?.QemuProcessId is int qemu)
        {
            _noise = new NoiseMeter([qemu]);
        }
        else if (_noise?.Shares() is (double foreign, double steal))
        {
            _others = new ForeignLoad(100 * Math.Max(0, foreign - steal), 100 * steal, 0);
        }
    }

    /// <summary>Without a bar, one line for each method that starts and for each round: it takes minutes.</summary>
    private void NotePhase(string what)
    {
        string phase = what.StartsWith("round ", StringComparison.Ordinal) ? what.Split(':')[0] : what;
        if (phase != _phase)
        {
            terminal.Note(phase);
            _phase = phase;
        }
    }

    private void PrintKept()
    {
        lock (_kept)
        {
            // The files lie elsewhere than the inner program says.
            foreach (string line in _kept.Where(l => !l.StartsWith("Written: ", StringComparison.Ordinal)))
            {
                terminal.WriteLine(line);
            }

            _kept.Clear();
        }
    }

    /// <summary>What a machine said that broke down is not part of the result.</summary>
    private void ForgetKept()
    {
        lock (_kept)
        {
            _kept.Clear();
        }

        (_machine, _noise, _others) = (null, null, null);
    }

    private async Task TakeResultsAsync(GuestVm machine, string? outDirectory, string? jsonFile)
    {
        string folder = outDirectory is null ? Directory.CreateTempSubdirectory("polyblk-results-").FullName : Path.GetFullPath(outDirectory);
        try
        {
            Directory.CreateDirectory(folder);
            IReadOnlyList<string> files = await machine.ExtractResultsAsync(folder).ConfigureAwait(false);
            if (jsonFile is not null && files.FirstOrDefault(f => Path.GetFileName(f) == "results.json") is string json)
            {
                File.Copy(json, jsonFile, overwrite: true);
                _kept.Add($"Written to {jsonFile}");
            }

            if (outDirectory is not null && files.Count > 0)
            {
                _kept.Add($"Written to {string.Join(", ", files)}");
            }
        }
        finally
        {
            if (outDirectory is null)
            {
                Directory.Delete(folder, recursive: true);
            }
        }
    }

    private GuestBuilder Describe(string command, IReadOnlyList<string> jobFiles, ScratchImage? image)
    {
        GuestBuilder builder = guest.Builder("compare").Polyblk(AppContext.BaseDirectory.TrimEnd('/')).Programs("fio");
        foreach (string program in s_programs.Where(p => ProgramPath.TryFind(p) is not null))
        {
            builder.Programs(program);
        }

        if (File.Exists(BlkioDriver.DebianPath))
        {
            builder.Programs(BlkioDriver.DebianPath);
        }

        if (guest.Vantages.Contains(Vantage.Guest))
        {
            builder.Machines();
        }

        foreach ((string variable, string value) in RuntimeSettings())
        {
            builder.Runtime(variable, value);
        }

        foreach (string file in jobFiles)
        {
            builder.File(Path.GetFullPath(file), PlaceOf(file));
        }

        string host = GuestEnvironment.Describe(MachineCache.Accelerator());
        string mount = image is null ? string.Empty
            : $"mkdir {ScratchFolder} && mkfs.ext4 -q -F -E nodiscard $(disk {builder.Disk(new FileDisk(image.Path, 1, 1))}) && mount $(ls -d /dev/vd?) {ScratchFolder} || exit 1";
        return builder.Script($$"""
            export PATH=/usr/sbin:/usr/bin:/sbin:/bin {{GuestEnvironment.Variable}}={{ShellWord.Quote(host)}} COLUMNS={{CompareCommand.ColumnsOf(terminal)}}
            for m in virtio_blk ublk_drv vduse virtio_vdpa loop raid0 raid1 raid10 raid456 ext4; do modprobe $m 2>/dev/null; done
            hostname compare
            {{mount}}
            mkdir -p {{Folder}}
            output=$(port rig.output)
            {{command}} >"$output" 2>&1 </dev/null &
            inner=$!
            # A host that has gone has nobody to measure for.
            (if await interrupt; then kill -TERM $inner; else poweroff -f; fi) &
            wait $inner
            status=$?
            deliver {{Folder}}
            exit $status
            """);
    }

    /// <summary>What was set here for the .NET runtime's compiler holds in there too.</summary>
    private static IEnumerable<(string Variable, string Value)> RuntimeSettings() =>
        from System.Collections.DictionaryEntry variable in Environment.GetEnvironmentVariables()
        let name = (string)variable.Key
        where name.StartsWith("DOTNET_Tiered", StringComparison.Ordinal) || name.StartsWith("DOTNET_TC_", StringComparison.Ordinal)
        select (name, (string)variable.Value!);

    /// <summary>The command of the inner comparison: this one's options, except where its machine and its files are.</summary>
    internal static string InnerCommand(ParseResult parsed, IReadOnlyList<Option> ownOptions, out IReadOnlyList<string> jobFiles)
    {
        var words = new List<string> { "polyblk", "compare", CompareGuestOptions.ProgressLinesName, "--out", Folder };
        var files = new List<string>();
        bool isSized = false;
        foreach (Option option in parsed.CommandResult.Command.Options.Except(ownOptions))
        {
            if (option.Name is "--out" or "--json" || parsed.GetResult(option) is not { Implicit: false } given)
            {
                continue;
            }

            isSized |= option.Name == "--member-size";
            string[] values = [.. given.Tokens.Select(t => t.Value)];
            if (option.Name == "--fio")
            {
                files.AddRange(values);
            }

            // An option takes one value; several are given by several options.
            words.AddRange(values.Length == 0 ? [option.Name] : values.SelectMany(value => new[]
            {
                option.Name, option.Name switch { "--fio" => PlaceOf(value), "--dir" => ScratchFolder, _ => value },
            }));
        }

        if (parsed.GetValue(CommandSettings.Verbose))
        {
            words.Add(CommandSettings.Verbose.Name);
        }

        jobFiles = files;
        return string.Join(' ', [.. words.Select(ShellWord.Quote), .. isSized ? [] : new[] { "--member-size", DefaultMemberSize }]);
    }

    /// <summary>Where a job file is in the machine. Names are unique: results refer to job files by them.</summary>
    private static string PlaceOf(string jobFile) => $"{JobFolder}/{Path.GetFileName(jobFile)}";
}

/// <summary>How far a comparison is, as a line that another program reads.</summary>
internal sealed record ProgressLine(int Done, int Total, string What)
{
    private const string Prefix = "@progress";

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Prefix} {Done} {Total} {What}");

    public static bool TryParse(string line, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out ProgressLine? progress)
    {
        string[] words = line.Split(' ', 4);
        progress = words.Length == 4 && words[0] == Prefix
            && int.TryParse(words[1], CultureInfo.InvariantCulture, out int done) && int.TryParse(words[2], CultureInfo.InvariantCulture, out int total)
            ? new ProgressLine(done, total, words[3])
            : null;
        return progress is not null;
    }
}
