// libblkio's virtio driver: nobody's own here, so a comparison prefers it where it is installed.

using System.Runtime.InteropServices;
using Polyblk.Compare.Clients.VhostUser;

namespace Polyblk.Compare.Clients.Blkio;

/// <summary>Attaches with libblkio.</summary>
public sealed class BlkioDriver : IVirtioDriver
{
    /// <summary>Where Debian's package has it.</summary>
    public const string DebianPath = "/usr/lib/x86_64-linux-gnu/" + LibBlkio.Library;

    private static readonly Lazy<bool> s_isInstalled = new(() => NativeLibrary.TryLoad(LibBlkio.Library, out _));

    /// <summary>Whether the library is there (Debian: libblkio1).</summary>
    public static bool IsInstalled => s_isInstalled.Value;

    /// <inheritdoc/>
    public string Name => "libblkio's virtio driver";

    /// <summary>The library does not tell.</summary>
    public bool CountsNotifications => false;

    /// <inheritdoc/>
    public IVirtioDisk Attach(string socketPath, int queues, int depth, int bufferBytes, bool readOnly = false)
    {
        var disk = new BlkioDisk("virtio-blk-vhost-user", socketPath, queues, (long)queues * depth * bufferBytes, readOnly);
        return new Disk(disk, queues, depth, bufferBytes);
    }

    private sealed class Disk(BlkioDisk disk, int queues, int depth, int bufferBytes) : IVirtioDisk
    {
        public long CapacityBytes => disk.CapacityBytes;

        public IReadOnlyList<IVirtioQueue> Queues { get; } = [.. Enumerable.Range(0, queues).Select(q => new BlkioQueue(disk, q, (long)q * depth * bufferBytes, bufferBytes))];

        /// <summary>The library detaches when the disk is destroyed.</summary>
        public void Detach()
        {
        }

        public void Dispose() => disk.Dispose();
    }
}
