using System.Diagnostics;
using System.Text.RegularExpressions;
using Polyblk.Core.Interop;

namespace Polyblk.Machine;

/// <summary>Programs of the host, which run beside a machine or are put into it.</summary>
public static partial class HostProgram
{
    // Of x86-64 (System V psABI).
    private const string Loader = "/lib64/ld-linux-x86-64.so.2";

    // Debian's packages of the programs that machines are made of.
    private static readonly Dictionary<string, string> s_packages = new(StringComparer.Ordinal)
    {
        ["qemu-system-x86_64"] = "qemu-system-x86",
        ["qemu-storage-daemon"] = "qemu-utils",
        ["fio"] = "fio",
        ["vdpa"] = "iproute2",
        ["mdadm"] = "mdadm",
        ["qemu-img"] = "qemu-utils",
        ["ssh"] = "openssh-client",
        ["ssh-keygen"] = "openssh-client",
    };

    /// <summary>The path of a program (<see cref="ProgramPath"/>).</summary>
    /// <exception cref="MachineException">It is not installed; the message has the command that brings it.</exception>
    public static string Find(string name) => ProgramPath.TryFind(name) ?? throw new MachineException(
        $"{name} is not installed." + (s_packages.TryGetValue(name, out string? package) ? $" Run: apt-get install {package}" : ""));

    /// <summary>Whether a program is installed.</summary>
    public static bool IsInstalled(string name) => ProgramPath.TryFind(name) is not null;

    /// <summary>Runs a short program and returns what it printed.</summary>
    /// <exception cref="MachineException">It is not installed, or failed; the message has what it said.</exception>
    internal static string Run(string name, params IEnumerable<string> arguments)
    {
        (int status, string output, string errors) = Execute(name, arguments);
        return status == 0 ? output : throw new MachineException($"{name} failed: {errors.Trim()}");
    }

    /// <summary>The libraries of a program or library, its loader among them; none where it is static.</summary>
    /// <exception cref="MachineException">One is missing.</exception>
    internal static IReadOnlyList<string> Libraries(string binary)
    {
        // What ldd does, without the shell that it is written in. Its statuses 0 and 2 say that the binary is linked to
        // libraries; others make the loader crash.
        if (Execute(Loader, ["--verify", binary]).Status is not (0 or 2)) return [];
        (_, string listing, string errors) = Execute(Loader, ["--list", binary]);
        // "libx.so.1 => /lib/libx.so.1 (0x...)", or "/lib64/ld-linux-x86-64.so.2 (0x...)".
        return !listing.Contains("not found", StringComparison.Ordinal)
            ? [.. LibraryPath().Matches(listing).Select(match => match.Groups[1].Value)]
            : throw new MachineException($"{binary} lacks a library and cannot be put into a machine:\n{listing}{errors}");
    }

    private static (int Status, string Output, string Errors) Execute(string name, IEnumerable<string> arguments)
    {
        using Process process = Process.Start(
            new ProcessStartInfo(Find(name), arguments) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true })!;
        process.StandardInput.Close();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, errors.Result);
    }

    [GeneratedRegex(@"(/\S+) \(0x", RegexOptions.CultureInvariant)]
    private static partial Regex LibraryPath();
}
