namespace Polyblk.Compare.Clients.Blkio;

/// <summary>A connected libblkio device with memory for its requests.</summary>
public sealed unsafe class BlkioDisk : IDisposable
{
    private nint _handle;
    private blkio_mem_region _region;

    /// <summary>Connects and starts.</summary>
    /// <param name="driver">For example <c>virtio-blk-vhost-user</c> or <c>virtio-blk-vhost-vdpa</c>.</param>
    /// <param name="path">The socket or device node.</param>
    /// <param name="queues">Queues to start.</param>
    /// <param name="bufferBytes">Memory for data, shared with the device.</param>
    /// <param name="readOnly">Connect read-only.</param>
    /// <exception cref="IOException">libblkio refused; the message is its own.</exception>
    public BlkioDisk(string driver, string path, int queues, long bufferBytes, bool readOnly = false)
    {
        try
        {
            Check(LibBlkio.blkio_create(driver, out _handle), $"create {driver}");
            Check(LibBlkio.blkio_set_str(_handle, "path", path), "set path");
            if (readOnly)
            {
                Check(LibBlkio.blkio_set_bool(_handle, "read-only", true), "set read-only");
            }

            Check(LibBlkio.blkio_connect(_handle), $"connect to {path}");
            Check(LibBlkio.blkio_set_int(_handle, "num-queues", queues), "set num-queues");
            Check(LibBlkio.blkio_start(_handle), "start");
            Check(LibBlkio.blkio_get_uint64(_handle, "capacity", out ulong capacity), "get capacity");
            CapacityBytes = (long)capacity;
            blkio_mem_region region;
            Check(LibBlkio.blkio_alloc_mem_region(_handle, &region, (nuint)bufferBytes), "allocate memory");
            Check(LibBlkio.blkio_map_mem_region(_handle, &region), "map memory");
            _region = region;
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Size of the device in bytes.</summary>
    public long CapacityBytes { get; }

    /// <summary>The memory for data.</summary>
    public byte* Buffer => (byte*)_region.addr;

    /// <summary>The queue of that index, for one thread; its completion descriptor is off: the caller polls.</summary>
    public nint Queue(int index)
    {
        nint queue = LibBlkio.blkio_get_queue(_handle, index);
        LibBlkio.blkioq_set_completion_fd_enabled(queue, false);
        return queue;
    }

    /// <summary>
    /// Switches a queue's notifications on; returns the descriptor, non-blocking, that becomes readable with them.
    /// </summary>
    public int EnableDoorbell(int index)
    {
        nint queue = LibBlkio.blkio_get_queue(_handle, index);
        LibBlkio.blkioq_set_completion_fd_enabled(queue, true);
        return LibBlkio.blkioq_get_completion_fd(queue);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_handle == 0)
        {
            return;
        }

        if (_region.addr is not null)
        {
            blkio_mem_region region = _region;
            LibBlkio.blkio_unmap_mem_region(_handle, &region);
            LibBlkio.blkio_free_mem_region(_handle, &region);
        }

        LibBlkio.blkio_destroy(ref _handle);
    }

    private static void Check(int rc, string what)
    {
        if (rc < 0)
        {
            throw new IOException($"libblkio: {what}: {LibBlkio.ErrorMessage} ({rc})");
        }
    }
}
