// The log of requests in flight that outlives the process: vhost-user's inflight buffer (Inflight I/O tracking), one region for a
// queue.
//
// The layouts are the specification's, so a buffer that the front-end keeps for a crashed back-end of another make is understood.
// VDUSE uses the same regions in a file of ours.

using System.Runtime.InteropServices;
using Polyblk.Virtio.Memory;

namespace Polyblk.Virtio;

/// <summary>An entry of a split queue's region, one for each head: DescStateSplit.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct DescStateSplit
{
    public byte inflight;
    public byte padding0;
    public byte padding1;
    public byte padding2;
    public byte padding3;
    public byte padding4;
    public ushort next;
    public ulong counter;
}

/// <summary>The head of a split queue's region: QueueRegionSplit without its entries.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct QueueRegionSplit
{
    public ulong features;
    public ushort version;
    public ushort desc_num;
    public ushort last_batch_head;
    public ushort used_idx;
}

/// <summary>An entry of a packed queue's region: DescStatePacked.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct DescStatePacked
{
    public byte inflight;
    public byte padding;
    public ushort next;
    public ushort last;
    public ushort num;
    public ulong counter;
    public ushort id;
    public ushort flags;
    public uint len;
    public ulong addr;
}

/// <summary>The head of a packed queue's region: QueueRegionPacked without its entries.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct QueueRegionPacked
{
    public ulong features;
    public ushort version;
    public ushort desc_num;
    public ushort free_head;
    public ushort old_free_head;
    public ushort used_idx;
    public ushort old_used_idx;
    public byte used_wrap_counter;
    public byte old_used_wrap_counter;
    public byte padding0;
    public byte padding1;
    public byte padding2;
    public byte padding3;
    public byte padding4;
    public byte padding5;
    public byte padding6;
}

/// <summary>One queue's region of an inflight buffer. It keeps the mapping alive.</summary>
public sealed unsafe class InflightLog : IDisposable
{
    private const int AlignmentBytes = 64;

    private readonly MappedRegion _mapping;
    private int _disposed;

    /// <summary>Uses the region at <paramref name="offsetBytes"/> of a mapped buffer; takes a reference of the mapping.</summary>
    /// <exception cref="ArgumentException">The buffer is too small, or the region is not aligned.</exception>
    public InflightLog(MappedRegion mapping, long offsetBytes, int queueSize, bool packed)
    {
        ArgumentNullException.ThrowIfNull(mapping);
        long size = RegionBytes(queueSize, packed);
        if (offsetBytes < 0 || offsetBytes % sizeof(ulong) != 0 || (ulong)size > mapping.SizeBytes || (ulong)offsetBytes > mapping.SizeBytes - (ulong)size
            || (nuint)(mapping.Address + offsetBytes) % sizeof(ulong) != 0)
        {
            throw new ArgumentException(
                $"An inflight region of {size} bytes at offset {offsetBytes} does not lie in a buffer of {mapping.SizeBytes} bytes.");
        }

        mapping.AddReference();
        _mapping = mapping;
        Address = mapping.Address + offsetBytes;
        QueueSize = queueSize;
        Packed = packed;
    }

    /// <summary>The region.</summary>
    public byte* Address { get; }

    /// <summary>Entries.</summary>
    public int QueueSize { get; }

    /// <summary>Which layout it has.</summary>
    public bool Packed { get; }

    /// <summary>Bytes of a queue's region, a multiple of 64: what GET_INFLIGHT_FD multiplies by the number of queues.</summary>
    public static long RegionBytes(int queueSize, bool packed)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(queueSize, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(queueSize, 32768);
        long bytes = packed
            ? sizeof(QueueRegionPacked) + ((long)sizeof(DescStatePacked) * queueSize)
            : sizeof(QueueRegionSplit) + ((long)sizeof(DescStateSplit) * queueSize);
        return (bytes + AlignmentBytes - 1) & ~(AlignmentBytes - 1L);
    }

    /// <summary>Makes the region as new: nothing in flight, nothing known. Only while no queue uses it (device reset).</summary>
    public void Clear() => NativeMemory.Clear(Address, (nuint)RegionBytes(QueueSize, Packed));

    /// <summary>Lets the mapping go. No queue may use the log any more.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            _mapping.Release();
        }
    }
}
