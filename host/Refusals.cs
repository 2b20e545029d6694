using Polyblk.Frontends;

namespace Polyblk.Host;

/// <summary>What an exception is to the user: the one place that says so for the command line and for the API.</summary>
public static class Refusals
{
    private const string Permit = "Run as root, or give this user the right.";

    /// <summary>The refusal of an exception; null for one that no user can be at fault for.</summary>
    public static Refusal? Of(Exception exception) => exception switch
    {
        RefusalException e => e.Refusal,
        FrontendOptionException or FormatException => new Refusal(RefusalKind.Invalid, exception.Message),
        FrontendException => new Refusal(RefusalKind.HostLacks, exception.Message),
        UnauthorizedAccessException => new Refusal(RefusalKind.HostLacks, exception.Message, Permit),
        FileNotFoundException or DirectoryNotFoundException => new Refusal(RefusalKind.NotFound, exception.Message),
        IOException => new Refusal(RefusalKind.HostLacks, exception.Message),
        _ => null,
    };
}
