// Looking at a file or a block device without taking it: no lock, no O_EXCL, so that neither a volume that is being served nor
// anybody else is disturbed.
//
// What a path is, is found out before it is opened: opening a FIFO waits for a writer, and opening some character devices does
// something (a watchdog starts to count, a tape winds back). The first descriptor (O_PATH) only names the file; the second is
// opened through it, so that nobody can put another file in its place between the two.

using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using static Polyblk.Drives.DriveCalls;

namespace Polyblk.Drives.Files;

/// <summary>Reads from a file or a block device that stays everybody else's. Control threads.</summary>
public sealed class DriveReader : IDisposable
{
    internal const int O_PATH = 0x200000;

    private readonly SafeFileHandle _handle;

    private DriveReader(string path, SafeFileHandle handle, long sizeBytes)
    {
        Path = path;
        _handle = handle;
        SizeBytes = sizeBytes;
    }

    /// <summary>The path by which it was opened.</summary>
    public string Path { get; }

    /// <summary>Its size in bytes when it was opened.</summary>
    public long SizeBytes { get; }

    /// <summary>Opens a file or a block device for reading. Never waits for another process.</summary>
    /// <exception cref="DriveException">It is not there, is something else, or cannot be opened; the message says why and what to
    /// do.</exception>
    public static DriveReader Open(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        int named = Libc.open(path, O_PATH | Libc.O_CLOEXEC);
        if (named < 0)
        {
            throw DriveGeometry.Error(path, "it cannot be opened", -named);
        }

        using var name = new SafeFileHandle(named, ownsHandle: true);
        int rc = Stat(named, out statx stat);
        if (rc < 0)
        {
            throw DriveGeometry.Error(path, "it cannot be examined", -rc);
        }

        DriveFile.CheckType(path, stat);
        string link = string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{named}");
        int fd = Libc.open(link, Libc.O_RDONLY | Libc.O_NONBLOCK | Libc.O_CLOEXEC);
        if (fd < 0)
        {
            throw DriveGeometry.Error(path, "it cannot be opened", -fd);
        }

        var handle = new SafeFileHandle(fd, ownsHandle: true);
        long size = SizeOf(fd, stat);
        if (size >= 0)
        {
            return new DriveReader(path, handle, size);
        }

        handle.Dispose();
        throw DriveGeometry.Error(path, "its size cannot be read", (int)-size);
    }

    /// <summary>
    /// What the path leads to, the same for every path that leads there: links, hard links and several nodes of one device. Null
    /// where there is no file and no block device.
    /// </summary>
    public static string? IdentityOf(string path)
    {
        int fd = Libc.open(path, O_PATH | Libc.O_CLOEXEC);
        if (fd < 0)
        {
            return null;
        }

        using var handle = new SafeFileHandle(fd, ownsHandle: true);
        return Stat(fd, out statx stat) < 0 ? null : (stat.stx_mode & S_IFMT) switch
        {
            S_IFBLK => string.Create(CultureInfo.InvariantCulture, $"device {stat.stx_rdev_major}:{stat.stx_rdev_minor}"),
            S_IFREG => string.Create(
                CultureInfo.InvariantCulture, $"file {stat.stx_dev_major}:{stat.stx_dev_minor}:{stat.stx_ino}"),
            _ => null,
        };
    }

    /// <summary>Reads as much as there is, at most the buffer.</summary>
    /// <returns>Bytes read: less than asked for at the end only.</returns>
    /// <exception cref="IOException">It cannot be read.</exception>
    public async Task<int> ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellation)
    {
        int done = 0;
        while (done < buffer.Length)
        {
            int read = await RandomAccess
                .ReadAsync(_handle, buffer[done..], offsetBytes + done, cancellation).ConfigureAwait(false);
            if (read == 0)
            {
                break;
            }

            done += read;
        }

        return done;
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();

    private static unsafe long SizeOf(int fd, in statx stat)
    {
        if ((stat.stx_mode & S_IFMT) != S_IFBLK)
        {
            return stat.stx_size;
        }

        long bytes = 0;
        int rc = Libc.ioctl(fd, BLKGETSIZE64, &bytes);
        return rc < 0 ? rc : bytes;
    }
}
