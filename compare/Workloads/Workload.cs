using Polyblk.Core.Block;

namespace Polyblk.Compare.Workloads;

/// <summary>What the load does.</summary>
/// <param name="Name">Short name, stable in results.</param>
/// <param name="IsWrite">Writes, or else reads.</param>
/// <param name="IsRandom">Random offsets, or else ascending ones.</param>
/// <param name="BlockBytes">Bytes of a request.</param>
/// <param name="Depth">Requests in flight of each job.</param>
public sealed record Workload(string Name, bool IsWrite, bool IsRandom, int BlockBytes, int Depth)
{
    /// <summary>
    /// Jobs at once. The built-in loads, which have no jobs, keep as many requests in flight as all jobs together.
    /// </summary>
    public int Jobs { get; init; } = 1;

    /// <summary>How a block device is driven where fio does it. The built-in loads have their own way.</summary>
    public BlockEngine Engine { get; init; } = BlockEngine.IoUring;

    /// <summary>
    /// Where each sequential job starts after the one before it, in percent of the span (fio: offset_increment).
    /// </summary>
    public int OffsetIncrementPercent { get; init; }

    /// <summary>The preset that it comes from.</summary>
    public string Preset { get; init; } = "quick";

    /// <summary>How it was scaled from the published form to this machine, such as <c>jobs 32 → 2</c>.</summary>
    public string? Scaling { get; init; }

    /// <summary>The file system that it runs on, as mkfs calls it; null for the bare device.</summary>
    public string? FileSystem { get; init; }

    /// <summary>Size of the file on the file system in bytes; 0 for the bare device.</summary>
    public long FileBytes { get; init; }

    /// <summary>A fio job file of the user, as text, which says everything that is not said here; null otherwise.</summary>
    public string? FioJobText { get; init; }

    /// <summary>Why it is not measured, and what would make it run; null when it is.</summary>
    public string? LeftOut { get; init; }

    /// <summary>Whether it changes what is on the device.</summary>
    public bool Overwrites => IsWrite || FileSystem is not null;

    /// <summary>Requests in flight in all.</summary>
    public int TotalDepth => Depth * Jobs;

    /// <summary>
    /// Size of the file of each job on a device in bytes: all of them take half of it at most, because the file system needs room
    /// too.
    /// </summary>
    public long FileBytesOn(long deviceBytes) => Math.Max(BlockBytes, Math.Min(FileBytes, deviceBytes / 2 / Jobs) / BlockBytes * BlockBytes);

    /// <summary>What becomes of it on a device of a size: where its files are made smaller, it says so.</summary>
    public Workload FittedTo(long deviceBytes) => FileSystem is null || FileBytesOn(deviceBytes) == FileBytes ? this : this with
    {
        FileBytes = FileBytesOn(deviceBytes),
        Scaling = string.Join(", ", new[] { Scaling, $"files {ByteSize.FormatRounded(FileBytes)} → {ByteSize.FormatRounded(FileBytesOn(deviceBytes))}" }.Where(s => s is not null)),
    };

    /// <summary>For headings: <c>4 KiB random read, QD 32</c>.</summary>
    public string Title => FioJobText is not null ? $"fio job {Name}"
        : $"{BlockBytes >> 10} KiB {(IsRandom ? "random" : "sequential")} {(IsWrite ? "write" : "read")}, QD {Depth}"
            + (Jobs > 1 ? $", {Jobs} jobs" : string.Empty) + EngineTitle + (FileSystem is null ? string.Empty : $", {FileSystem}");

    private string EngineTitle => Engine switch
    {
        BlockEngine.Libaio => ", libaio",
        BlockEngine.IoUringFixed => ", io_uring fixed",
        _ => string.Empty,
    };
}

/// <summary>How fio drives a block device.</summary>
public enum BlockEngine
{
    /// <summary>io_uring as it is.</summary>
    IoUring,

    /// <summary>libaio.</summary>
    Libaio,

    /// <summary>io_uring with fixed buffers and registered files, and polling where the device has poll queues.</summary>
    IoUringFixed,
}
