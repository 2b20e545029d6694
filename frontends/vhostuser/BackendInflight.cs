// The inflight buffer of a session ("Inflight I/O tracking"): made for the front-end, or given back by it after a crash of ours.
//
// The front-end keeps the buffer while the back-end is gone. Ours is a memfd sealed against any change of its size; one that
// comes back is mapped as untrusted memory, and each queue's region is checked by the queue that recovers from it.
//
// A front-end asks for regions of the size that it offers to the guest (QEMU: queue-size). The guest may set up larger rings all
// the same (QEMU 10.0.13 with queue-size=128: 256 entries, by firmware and by Linux), and a ring without a record could not be
// repaired after a crash. So regions are made for the largest rings that QEMU has; the front-end only keeps the buffer, and its
// size tells later how it was made.

using Polyblk.Core.Interop;
using Polyblk.Virtio;
using Polyblk.Virtio.Memory;
using Polyblk.Virtio.VhostUser;

namespace Polyblk.Frontends.VhostUser;

/// <summary>A mapped inflight buffer.</summary>
internal sealed class BackendInflight : IDisposable
{
    /// <summary>Entries of a region at least: QEMU's VIRTQUEUE_MAX_SIZE.</summary>
    private const int LeastEntries = 1024;

    private readonly MappedRegion _mapping;

    private BackendInflight(MappedRegion mapping, in VhostUserInflight description, KeptFile? file)
    {
        _mapping = mapping;
        Description = description;
        File = file;
    }

    /// <summary>How it is told to a successor.</summary>
    public VhostUserInflight Description { get; }

    /// <summary>Its file, for a successor; null where it was not kept.</summary>
    public KeptFile? File { get; }

    /// <summary>Queues for which it has a region.</summary>
    public int Queues => Description.num_queues;

    /// <summary>Entries that the front-end asked for.</summary>
    public int QueueSize => Description.queue_size;

    /// <summary>Makes a buffer.</summary>
    /// <param name="wanted">The queues and their entries.</param>
    /// <param name="packed">Whether the rings are packed.</param>
    /// <returns>The buffer, and its descriptor for the front-end: the caller disposes it when it was sent.</returns>
    public static (BackendInflight Buffer, ForeignDescriptor File) Create(in VhostUserInflight wanted, bool packed)
    {
        CheckShape(wanted.num_queues, wanted.queue_size);
        long bytes = wanted.num_queues * InflightLog.RegionBytes(Math.Max((int)wanted.queue_size, LeastEntries), packed);
        int fd = Libc.memfd_create("polyblk-inflight", Libc.MFD_CLOEXEC | Libc.MFD_ALLOW_SEALING);
        if (fd < 0)
        {
            throw new RefusedException($"no inflight buffer can be made (errno {-fd})", fatal: true);
        }

        var file = new ForeignDescriptor(fd, DescriptorCloser.Default);
        try
        {
            int rc = Libc.ftruncate(fd, bytes);
            if (rc < 0)
            {
                throw new IOException($"errno {-rc}");
            }

            _ = Libc.fcntl(fd, Libc.F_ADD_SEALS, Libc.F_SEAL_SHRINK | Libc.F_SEAL_GROW | Libc.F_SEAL_SEAL);
            VhostUserInflight description = wanted;
            (description.mmap_size, description.mmap_offset) = ((ulong)bytes, 0);
            return (new BackendInflight(MappedRegion.Map(file.File, 0, (ulong)bytes), description, KeptFile.Keep(file)), file);
        }
        catch (IOException e)
        {
            file.Dispose();
            throw new RefusedException($"no inflight buffer of {bytes} bytes can be made: {e.Message}", fatal: true);
        }
    }

    /// <summary>Maps a buffer that the front-end gives back. Takes the descriptor over.</summary>
    public static BackendInflight Open(in VhostUserInflight description, ForeignDescriptor given, BackendMemory memory)
    {
        using ForeignDescriptor file = given;
        CheckShape(description.num_queues, description.queue_size);

        // The kind of the rings may not be known yet: each queue checks its own region when it starts.
        long least = description.num_queues * InflightLog.RegionBytes(description.queue_size, packed: false);
        if (description.mmap_size < (ulong)least)
        {
            throw new RefusedException(
                $"an inflight buffer of {description.mmap_size} bytes is too small for {description.num_queues} queues of {description.queue_size}", fatal: true);
        }

        MappedRegion mapping = memory.Map("inflight buffer", file.File, description.mmap_offset, description.mmap_size);
        return new BackendInflight(mapping, description, KeptFile.Keep(file));
    }

    /// <summary>The region of a queue; null when there is none that is large enough.</summary>
    /// <exception cref="ArgumentException">What the region holds is not for such a queue.</exception>
    public InflightLog? LogOf(int queue, int size, bool packed)
    {
        int entries = EntriesOf(packed);
        if (queue >= Queues || size > entries)
        {
            return null;
        }

        // A driver may use fewer entries than the region has; regions keep their distance.
        return new InflightLog(_mapping, queue * InflightLog.RegionBytes(entries, packed), size, packed);
    }

    /// <summary>Entries of each region: a buffer that is no larger than was asked for was made by another back-end.</summary>
    public int EntriesOf(bool packed)
    {
        int large = Math.Max(QueueSize, LeastEntries);
        return (ulong)(Queues * InflightLog.RegionBytes(large, packed)) <= _mapping.SizeBytes ? large : QueueSize;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _mapping.Dispose();
        File?.Dispose();
    }

    private static void CheckShape(int queues, int queueSize)
    {
        if (queues is < 1 or > VhostUserOptions.MaxQueues || queueSize is < 1 or > VhostUserOptions.MaxQueueSize)
        {
            throw new RefusedException($"an inflight buffer for {queues} queues of {queueSize} entries is not possible", fatal: true);
        }
    }
}
