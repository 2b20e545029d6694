// Files and block devices. One descriptor for all queues; what kind of queue a reactor gets depends on the file and the reactor:
//   * a file or device in memory (tmpfs, zram): inside Submit, by system calls (InlineFileQueue);
//   * everything else: io_uring (UringQueue), or I/O threads where there is no io_uring (ThreadedQueue).

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Drives.Files;

/// <summary>A file or a block device as a drive.</summary>
public sealed class FileDrive : IBlockDevice
{
    private readonly DriveFile _file;
    private long _sizeBytes;

    private FileDrive(DriveFile file)
    {
        _file = file;
        _sizeBytes = RoundDown(file.ReadSize());
        bool inMemory = file.IsInMemory;
        IsServedInline = inMemory;
        PollsCompletions = file.IsDirect && file.ReadQueueAttribute("io_poll", 0) == 1;
        Limits = new BlockLimits
        {
            LogicalBlockSize = file.LogicalBlockSize,
            PhysicalBlockSize = Math.Max(file.PhysicalBlockSize, file.LogicalBlockSize),
            MinimumIoSize = Math.Max(4096, file.PhysicalBlockSize),
            OptimalIoSize = file.OptimalIoSize,
            BufferAlignment = file.IsDirect ? Math.Max(file.MemoryAlignment, file.LogicalBlockSize) : 1,
            VolatileCache = !inMemory,
            Discard = file.CanDiscard,
            DiscardGranularity = file.DiscardGranularity,
            ReadOnly = file.IsReadOnly,
            NeedsCpuAccessForReads = inMemory,
            NeedsCpuAccessForWrites = inMemory,
        };
    }

    /// <inheritdoc/>
    public event Action<IBlockDevice>? Resized;

    /// <inheritdoc/>
    public string Name => _file.Path;

    /// <inheritdoc/>
    public long SizeBytes => Volatile.Read(ref _sizeBytes);

    /// <inheritdoc/>
    public BlockLimits Limits { get; }

    /// <summary>Whether requests bypass the page cache.</summary>
    public bool IsDirect => _file.IsDirect;

    /// <summary>Whether the file or device lives in memory and its requests are done inside Submit.</summary>
    public bool IsInMemory => _file.IsInMemory;

    /// <summary>Whether queues do their requests inside Submit: what is in memory. Set before queues are opened.</summary>
    internal bool IsServedInline { get; set; }

    /// <summary>
    /// Whether queues poll for completions (io_uring IOPOLL): devices with poll queues do. Set before queues are opened.
    /// </summary>
    internal bool PollsCompletions { get; set; }

    internal int Fd => _file.Fd;

    internal DriveFile File => _file;

    /// <summary>Opens a file or a block device.</summary>
    /// <exception cref="DriveException">It cannot be opened; the message says why and what to do.</exception>
    public static FileDrive Open(DriveSpec spec, bool readOnly)
    {
        ArgumentNullException.ThrowIfNull(spec);
        return new FileDrive(DriveFile.Open(spec, readOnly));
    }

    /// <inheritdoc/>
    public IBlockQueue OpenQueue(Reactor reactor)
    {
        ArgumentNullException.ThrowIfNull(reactor);
        if (IsServedInline)
        {
            return new InlineFileQueue(this, reactor);
        }

        return reactor.Ring is null ? new ThreadedQueue(this, reactor) : new UringQueue(this, reactor, PollsCompletions);
    }

    /// <summary>
    /// Looks whether the file or device has grown, takes the new size over and raises <see cref="Resized"/>. A drive that has
    /// shrunk keeps its size: requests beyond its new end fail.
    /// </summary>
    /// <returns>Whether the size has changed.</returns>
    /// <exception cref="DriveException">The size cannot be read, or the drive has shrunk.</exception>
    public async Task<bool> RefreshSizeAsync()
    {
        // BLKGETSIZE64 and statx may wait for a device or a network file system.
        long raw = await Task.Run(_file.ReadSize).ConfigureAwait(false);
        if (raw < 0)
        {
            throw DriveGeometry.Error(Name, "its size cannot be read", (int)-raw);
        }

        long before = SizeBytes;
        long size = RoundDown(raw);
        if (size < before)
        {
            throw DriveGeometry.Error(Name, $"it has shrunk from {before} to {size} bytes; grow it again, data beyond its end is lost.");
        }

        if (size == before)
        {
            return false;
        }

        Volatile.Write(ref _sizeBytes, size);
        Resized?.Invoke(this);
        return true;
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync()
    {
        _file.Dispose();
        return ValueTask.CompletedTask;
    }

    private long RoundDown(long size) => size / _file.LogicalBlockSize * _file.LogicalBlockSize;
}
