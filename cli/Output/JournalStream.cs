using System.Globalization;
using Polyblk.Core.Interop;
using Tmds.Linux;

namespace Polyblk.Cli.Output;

/// <summary>Whether what is written goes to systemd's journal.</summary>
internal static class JournalStream
{
    private const int StandardError = 2;

    /// <summary>Whether standard error is the journal's stream.</summary>
    /// <param name="variable">What systemd says in JOURNAL_STREAM: device and inode (systemd.exec(5)); null without it.</param>
    public static unsafe bool IsStandardError(string? variable)
    {
        stat stat;
        return !string.IsNullOrEmpty(variable) && Libc.fstat(StandardError, &stat) == 0
            && variable == string.Create(CultureInfo.InvariantCulture, $"{(ulong)stat.st_dev}:{(ulong)stat.st_ino}");
    }
}
