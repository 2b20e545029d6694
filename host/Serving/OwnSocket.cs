using Polyblk.Core.Interop;

namespace Polyblk.Host.Serving;

/// <summary>Sockets for this process's user alone, at paths that are this process's by a lock that it holds.</summary>
internal static class OwnSocket
{
    private const UnixFileMode Mode = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>Listens at a path; a socket that is there is a dead process's.</summary>
    /// <param name="path">Where.</param>
    /// <param name="what">What it is, for the refusal: "The control socket".</param>
    /// <exception cref="RefusalException">It cannot be made.</exception>
    public static UnixListener Listen(string path, string what)
    {
        try
        {
            File.Delete(path);
            return UnixListener.Listen(path, Mode);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RefusalException(
                new Refusal(RefusalKind.HostLacks, $"{what} cannot be made: {e.Message}", "--state DIR moves it."), e);
        }
    }
}
