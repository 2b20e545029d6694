using System.ComponentModel;
using System.Diagnostics;
using System.Text.RegularExpressions;

namespace Polyblk.Frontends.VirtioIothread;

/// <summary>The QEMU of this host.</summary>
internal static partial class QemuProgram
{
    /// <summary>The first version with iothread-vq-mapping.</summary>
    public static Version FirstWithMapping { get; } = new(9, 0);

    /// <summary>Its name, unless an option gives another.</summary>
    public const string DefaultName = "qemu-system-x86_64";

    /// <summary>Asks a QEMU for its version; null when it is not installed.</summary>
    public static Version? FindVersion(string program)
    {
        try
        {
            using Process process = Process.Start(new ProcessStartInfo(program, ["--version"]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            string text = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return ParseVersion(text);
        }
        catch (Win32Exception)
        {
            return null;
        }
    }

    /// <summary>Reads the version out of what <c>--version</c> prints; null when there is none.</summary>
    public static Version? ParseVersion(string text) => VersionPattern().Match(text) is { Success: true } match ? Version.Parse(match.Groups[1].Value) : null;

    [GeneratedRegex(@"version (\d+\.\d+(\.\d+)?)")]
    private static partial Regex VersionPattern();
}
