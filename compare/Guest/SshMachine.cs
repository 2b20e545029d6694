// A machine of the user's own, reached by the system's ssh program with the user's configuration and keys: scripts go in on
// standard input, what they print comes back; a mark is a line on the standard error that the script began with.

using System.ComponentModel;
using System.Diagnostics;
using System.Text;
using Polyblk.Compare.Methods;
using Polyblk.Core.Interop;
using Polyblk.Machine;

namespace Polyblk.Compare.Guest;

/// <summary>A running virtual machine that the user names.</summary>
/// <param name="destination">As ssh takes it: <c>user@host</c>, or a name of its configuration.</param>
/// <param name="program">The ssh program.</param>
/// <param name="options">Options that ssh gets; null for the user's configuration as it is.</param>
public sealed class SshMachine(string destination, string program = "ssh", IReadOnlyList<string>? options = null) : IGuestMachine
{
    private const string MarkLine = "@polyblk-mark";
    private const int MaxErrorChars = 2000;

    /// <summary>For a look at a disk.</summary>
    private static readonly TimeSpan s_look = TimeSpan.FromMinutes(2);

    /// <summary>A script may send its standard error elsewhere; the mark goes here all the same.</summary>
    private const string Prelude = $"exec 3>&2\nmark() {{ echo {MarkLine} >&3; }}\n";

    /// <inheritdoc/>
    public string FioVersion { get; private set; } = "fio";

    /// <summary>Where it is.</summary>
    public string Destination => destination;

    /// <inheritdoc/>
    public IReadOnlyList<int> ProcessIds => [];

    /// <summary>Whether ssh is installed; whether it gets there is seen when it is used.</summary>
    public static MethodAvailability Check() => ProgramPath.TryFind("ssh") is not null
        ? MethodAvailability.Yes
        : new MethodAvailability(false, "ssh is not installed", ["apt-get install openssh-client"]);

    /// <summary>
    /// Looks at a disk before anything is written to it, and returns its size in bytes. blkid(8) ends with 2 when a disk holds
    /// nothing that it knows.
    /// </summary>
    /// <exception cref="MethodException">It is in use or holds something, or the machine lacks a program.</exception>
    public async Task<long> InspectAsync(string device, CancellationToken cancellation)
    {
        string quoted = ShellWord.Quote(device);
        GuestCommandResult result = await RunAsync(
            $$"""
            command -v fio >/dev/null || { echo "fio is not installed there: apt-get install fio" >&2; exit 1; }
            [ -b {{quoted}} ] || { echo "{{device}} is no block device there" >&2; exit 1; }
            [ -w {{quoted}} ] || { echo "{{device}} may not be written by this user" >&2; exit 1; }
            grep -q "^$(readlink -f {{quoted}})[ p0-9]" /proc/mounts && { echo "{{device}} is mounted there" >&2; exit 1; }
            found=$(PATH=/usr/sbin:/sbin:$PATH blkid -p {{quoted}} 2>&1)
            case $? in
              0 | 8) echo "{{device}} holds something ($found); all of it would be overwritten. If that is meant, run there: wipefs -a {{device}}" >&2; exit 1 ;;
              2) ;;
              *) echo "whether {{device}} holds something cannot be told: blkid -p of util-linux is needed there ($found)" >&2; exit 1 ;;
            esac
            fio --version
            echo $(($(cat /sys/class/block/$(basename "$(readlink -f {{quoted}})")/size) * 512))
            """,
            s_look,
            () => { },
            cancellation).ConfigureAwait(false);
        string[] lines = result.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        if (result.ExitCode != 0 || lines.Length != 2 || !long.TryParse(lines[1], out long sizeBytes))
        {
            throw new MethodException($"{destination}: {(result.Errors.Length > 0 ? result.Errors : $"ssh ended with {result.ExitCode}")}");
        }

        FioVersion = lines[0];
        return sizeBytes;
    }

    /// <inheritdoc/>
    public Task<GuestCommandResult> RunAsync(string script, TimeSpan limit, Action onMark, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(onMark);
        return ScriptLimit.RunAsync(limit, within => RunAsync(script, onMark, within), cancellation);
    }

    private async Task<GuestCommandResult> RunAsync(string script, Action onMark, CancellationToken cancellation)
    {
        using Process ssh = Start();
        try
        {
            Task<string> output = ssh.StandardOutput.ReadToEndAsync(cancellation);
            Task<string> errors = ReadErrorsAsync(ssh.StandardError, onMark, cancellation);
            await ssh.StandardInput.WriteAsync((Prelude + script).AsMemory(), cancellation).ConfigureAwait(false);
            ssh.StandardInput.Close();
            await ssh.WaitForExitAsync(cancellation).ConfigureAwait(false);
            return new GuestCommandResult(ssh.ExitCode, await output.ConfigureAwait(false), await errors.ConfigureAwait(false));
        }
        catch (IOException e)
        {
            throw new MethodException($"ssh {destination} ended before it had read what to do: {e.Message}", e);
        }
        finally
        {
            if (!ssh.HasExited)
            {
                ssh.Kill(entireProcessTree: true);
            }
        }
    }

    private Process Start()
    {
        try
        {
            return BoundProcess.Start(new ProcessStartInfo(program, [.. options ?? [], "-o", "BatchMode=yes", "-T", "--", destination, "sh -s"])
            {
                RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false,
            });
        }
        catch (Win32Exception e)
        {
            throw new MethodException($"ssh cannot be started: {e.Message}", e);
        }
    }

    private static async Task<string> ReadErrorsAsync(StreamReader reader, Action onMark, CancellationToken cancellation)
    {
        var text = new StringBuilder();
        while (await reader.ReadLineAsync(cancellation).ConfigureAwait(false) is string line)
        {
            if (line == MarkLine)
            {
                onMark();
            }
            else
            {
                text.AppendLine(line);
            }
        }

        return (text.Length > MaxErrorChars ? text.ToString(text.Length - MaxErrorChars, MaxErrorChars) : text.ToString()).Trim();
    }
}
