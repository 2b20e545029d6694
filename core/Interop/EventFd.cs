using Microsoft.Win32.SafeHandles;

namespace Polyblk.Core.Interop;

/// <summary>Tells eventfds from everything else that can arrive as a descriptor.</summary>
public static class EventFd
{
    /// <summary>
    /// What the kernel calls an eventfd: exactly this, for the path of a file may have these words in it (proc(5), /proc/pid/fd).
    /// </summary>
    private const string Link = "anon_inode:[eventfd]";

    /// <summary>
    /// Makes sure that a descriptor is an eventfd. Whatever a reactor writes or polls must be one: another kind of file may block
    /// there, and a file system in user space for as long as its owner likes.
    /// </summary>
    /// <exception cref="IOException">It is something else; the message says what.</exception>
    public static void Require(SafeFileHandle descriptor)
    {
        ArgumentNullException.ThrowIfNull(descriptor);
        string? kind = KindOf((int)descriptor.DangerousGetHandle());
        if (kind != Link)
        {
            throw new IOException($"A descriptor for notifications must be an eventfd; this one is {kind ?? "closed"}.");
        }
    }

    /// <summary>Whether a descriptor is one. Its file is not asked.</summary>
    public static bool Is(int fd) => KindOf(fd) == Link;

    private static string? KindOf(int fd) => new FileInfo($"/proc/self/fd/{fd}").LinkTarget;
}
