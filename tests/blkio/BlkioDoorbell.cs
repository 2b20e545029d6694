using System.Runtime.InteropServices;

namespace Polyblk.Blkio;

/// <summary>The completion descriptor of a queue, an eventfd that does not block.</summary>
internal static unsafe partial class BlkioDoorbell
{
    private const short Readable = 1; // POLLIN

    /// <summary>Blocks until the queue is notified, and takes the notification.</summary>
    public static void Wait(int fd)
    {
        var look = new PollDescriptor { Fd = fd, Events = Readable };
        _ = poll(&look, 1, -1);
        ulong count;
        _ = read(fd, &count, sizeof(ulong));
    }

    [LibraryImport("libc")]
    private static partial int poll(PollDescriptor* fds, nuint count, int timeoutMs);

    [LibraryImport("libc")]
    private static partial nint read(int fd, void* buffer, nuint count);

    [StructLayout(LayoutKind.Sequential)]
    private struct PollDescriptor
    {
        public int Fd;
        public short Events;
        public short Returned;
    }
}
