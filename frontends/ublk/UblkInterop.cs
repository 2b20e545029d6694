using Polyblk.Core.Interop;

namespace Polyblk.Frontends.Ublk;

/// <summary>The system calls that only this frontend needs.</summary>
internal static class UblkInterop
{
    private const int PR_SET_IO_FLUSHER = 57;

    /// <summary>
    /// Tells the memory manager that this thread serves a block device (prctl(2), PR_SET_IO_FLUSHER, Linux 5.6): an allocation of
    /// this thread never waits for dirty pages to be written, which may be pages of the very device that it serves.
    /// </summary>
    /// <returns>Whether it was allowed (CAP_SYS_RESOURCE).</returns>
    public static bool MarkThreadAsIoFlusher() => Libc.prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) == 0;

    /// <summary>Writes out the file system of an open file: syncfs(2). Returns whether it succeeded.</summary>
    public static bool SyncFileSystem(int fd) => Libc.syncfs(fd) == 0;

    /// <summary>Writes out the cached pages of an open block device: fsync(2). Returns whether it succeeded.</summary>
    public static bool SyncFile(int fd) => Libc.fsync(fd) == 0;
}
