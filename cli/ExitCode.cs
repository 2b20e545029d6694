using Polyblk.Host;

namespace Polyblk.Cli;

/// <summary>What the program's exit status says. Documented in docs/cli.md; scripts rely on the numbers.</summary>
internal static class ExitCode
{
    public const int Ok = 0;

    /// <summary>Anything that has no number of its own.</summary>
    public const int Failed = 1;

    /// <summary>The command line is wrong.</summary>
    public const int Usage = 2;

    /// <summary>A volume, drive or path that was named is not there.</summary>
    public const int NotFound = 3;

    /// <summary>Refused, because something is in use or would be lost; nothing was changed.</summary>
    public const int Refused = 4;

    /// <summary>The host or a device lacks what this needs: a kernel module, a right, memory.</summary>
    public const int HostLacks = 5;

    /// <summary>Of <c>apply --dry-run</c>: something differs.</summary>
    public const int Differs = 6;

    /// <summary>Ended in order by Ctrl-C (128 + SIGINT), or by SIGTERM.</summary>
    public const int Interrupted = 130;

    /// <summary>The number of a refusal.</summary>
    public static int Of(RefusalKind kind) => kind switch
    {
        RefusalKind.Invalid => Usage,
        RefusalKind.NotFound => NotFound,
        RefusalKind.Refused => Refused,
        RefusalKind.HostLacks => HostLacks,
        _ => Failed,
    };
}
