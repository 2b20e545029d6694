// The device's side of a virtqueue, whatever its format.
//
// A queue is used in batches: TryPop for each request, Push for each answer, Publish once, which says whether the driver wants to
// be notified. Between, Show lets a driver that looks see what was pushed so far, without the price of a decision (a full fence)
// and a notification: Publish makes up for it. TryPop leaves the chain that it found in this object (segments translated,
// readable ones first) and does not keep it: the caller takes what it needs. Nothing that the driver wrote is read twice:
// descriptors are copied, checked and only then used.
//
// A driver that breaks the rules breaks its queue: TryPop returns false, Fault says why, and the owner stops using the queue. A
// buffer that is not in the memory shared with us is no breach (a hot-plugged DIMM that is not shared): the chain is complete,
// IsReachable says it.
//
// Nothing is released before it is published: until Show or Publish has shown an answer to the driver, its head or id is in use,
// its ring entries are taken, and its entries of the inflight log are occupied. So the three agree at every moment, and no
// driver, whatever it writes meanwhile, can have more pushed than the queue is long. Show is the one place of release; Publish
// goes through it.
//
// Requests that an inflight log still holds are popped first, in the order in which the crashed predecessor took them.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Virtio.Memory;
using static Polyblk.Virtio.RingLayout;

namespace Polyblk.Virtio;

/// <summary>A split or packed virtqueue. One thread.</summary>
internal abstract unsafe class Virtqueue : IDisposable
{
    /// <summary>
    /// The driver's chain in translated segments: readable ones first, none of length 0. Valid until the next call.
    /// </summary>
    public readonly IoVec* Segments;

    /// <summary>Segments in all.</summary>
    public int SegmentCount;

    /// <summary>Segments that the device reads.</summary>
    public int ReadableCount;

    /// <summary>Descriptors that make no segments (of length 0, or not in the guest's memory), but each was read.</summary>
    public int EmptyCount;

    /// <summary>
    /// Whether all buffers are in the guest's memory. Otherwise the segments have gaps, and the chain can only be refused.
    /// </summary>
    public bool IsReachable;

    /// <summary>Bytes that the device reads; readable and writable ones together are less than 4 GiB.</summary>
    public ulong ReadableBytes;

    /// <summary>Bytes that the device may write.</summary>
    public ulong WritableBytes;

    /// <summary>
    /// Most descriptors of a chain, and most entries of an indirect table: one for each segment that a request may have. A ring
    /// may be shorter (Linux builds tables of seg_max + 2 entries whatever the ring's size); a table or chain beyond it is of no
    /// use to anybody.
    /// </summary>
    public const int MaxDescriptors = VirtioBlkQueue.MaxSegments;

    /// <summary>What names the chain when it is given back: its head, or its buffer id.</summary>
    public ushort Id;

    /// <summary>How many ring entries a packed chain takes.</summary>
    public ushort DescriptorCount;

    /// <summary>Answers pushed and not yet shown.</summary>
    public int Pushed;

    /// <summary>Answers shown for which it was not yet decided whether the driver is notified.</summary>
    public int Unannounced;

    /// <summary>Of a chain that is not reachable: whether its last writable byte, the status, is.</summary>
    public bool HasLastWritable => SegmentCount > ReadableCount && (!_writableIsMissing || SegmentCount > _segmentsBeforeMissing);

    /// <summary>
    /// Of a chain that is not reachable: what an answer may call written, which is a prefix of the writable bytes.
    /// </summary>
    public uint WritablePrefix => _writableIsMissing ? 0 : (uint)WritableBytes;

    /// <summary>Which buffer of a chain that is not reachable is missing, as a sentence.</summary>
    public string MissingText =>
        $"A buffer at {_missingAddress:x} with {_missingLength} bytes is not in the guest's memory that is shared with us.";

    protected readonly int Size;
    protected readonly bool EventIdx;
    private readonly byte* _inUse;
    private readonly IoVec* _segmentEnd;
    private MemoryWindow _window;
    private bool _seenWritable;
    private bool _writableIsMissing;
    private int _segmentsBeforeMissing;
    private ulong _missingAddress;
    private uint _missingLength;

    protected Virtqueue(VirtqueueSetup setup)
    {
        Size = setup.Size;
        EventIdx = (setup.Features & VirtioFeatures.VIRTIO_F_EVENT_IDX) != 0;
        Memory = setup.Memory;
        Memory.AddReference();
        Segments = (IoVec*)NativeMemory.AlignedAlloc((nuint)(VirtioBlkQueue.MaxSegments * sizeof(IoVec)), 64);
        _segmentEnd = Segments + VirtioBlkQueue.MaxSegments;
        _inUse = (byte*)NativeMemory.AllocZeroed((nuint)Size);
    }

    /// <summary>Makes the queue that the features call for and looks up its ring.</summary>
    /// <exception cref="IOException">The ring is not there, or the inflight log contradicts it.</exception>
    public static Virtqueue Create(VirtqueueSetup setup)
    {
        Virtqueue queue = (setup.Features & VirtioFeatures.VIRTIO_F_RING_PACKED) != 0 ? new PackedVirtqueue(setup) : new SplitVirtqueue(setup);
        try
        {
            if (!queue.TryMapRing(setup.Addresses) || !queue.TryRecover())
            {
                throw new IOException($"{setup.Name}: {queue.FaultText}");
            }
        }
        catch
        {
            queue.Dispose();
            throw;
        }

        return queue;
    }

    /// <summary>The guest's memory; the queue holds a reference. It grows by itself where the table has a resolver.</summary>
    public GuestMemory Memory { get; private set; }

    /// <summary>Why the queue is broken.</summary>
    public VirtqueueFault Fault { get; private set; }

    /// <summary>The same as a sentence.</summary>
    public string FaultText { get; private set; } = string.Empty;

    /// <summary>Requests of a crashed predecessor that are still to be popped.</summary>
    public abstract int RecoveredLeft { get; }

    /// <summary>Where a successor goes on: <see cref="VirtqueueSetup.Base"/>.</summary>
    public abstract uint Base { get; }

    /// <summary>The dirty log for writes to the ring, or null.</summary>
    public DirtyLog? DirtyLog { get; private set; }

    /// <summary>Guest address of the used ring in the dirty log.</summary>
    protected ulong UsedLogAddress { get; private set; }

    /// <summary>Whether, as far as was looked, requests are waiting to be popped.</summary>
    public abstract bool HasMore { get; }

    /// <summary>Takes the next chain. False when there is none, or when the queue is broken.</summary>
    public abstract bool TryPop();

    /// <summary>Gives a chain back; the driver sees it after <see cref="Publish"/>.</summary>
    /// <param name="id">Its <see cref="Id"/>.</param>
    /// <param name="descriptorCount">Its <see cref="DescriptorCount"/>.</param>
    /// <param name="written">Bytes written.</param>
    public abstract void Push(ushort id, ushort descriptorCount, uint written);

    /// <summary>
    /// Lets a driver that looks see what was pushed, something at least. It is not notified: <see cref="Publish"/> must follow.
    /// </summary>
    public abstract void Show();

    /// <summary>
    /// Shows the driver what was pushed, if anything. Returns whether it wants to be notified of that and of what was shown
    /// before.
    /// </summary>
    public abstract bool Publish();

    /// <summary>Asks the driver for kicks. Returns false when there is something to pop already.</summary>
    public abstract bool EnableKicks();

    /// <summary>Tells the driver that kicks are not needed.</summary>
    public abstract void DisableKicks();

    /// <summary>Looks up the ring in <see cref="Memory"/>.</summary>
    protected abstract bool TryMapRing(VirtqueueAddresses addresses);

    /// <summary>Takes the state over from the inflight log.</summary>
    protected abstract bool TryRecover();

    /// <summary>Uses other memory. Nothing may be in flight. False when the ring is not in it.</summary>
    public bool TryUseMemory(GuestMemory memory, VirtqueueAddresses addresses)
    {
        memory.AddReference();
        Adopt(memory);
        _window = default;
        return TryMapRing(addresses);
    }

    /// <summary>
    /// Uses memory that holds everything of the present one, in the same mappings: the ring and what is in flight stay as they
    /// are.
    /// </summary>
    public void ExtendMemory(GuestMemory memory)
    {
        memory.AddReference();
        Adopt(memory);
    }

    /// <summary>Logs writes to the ring from now on.</summary>
    public void UseDirtyLog(DirtyLog? log, ulong? usedLogAddress)
    {
        UsedLogAddress = usedLogAddress ?? 0;
        DirtyLog = usedLogAddress is null ? null : log;
    }

    /// <inheritdoc/>
    public virtual void Dispose()
    {
        Memory.Release();
        NativeMemory.AlignedFree(Segments);
        NativeMemory.Free(_inUse);
    }

    /// <summary>
    /// Whether an index that moved from <paramref name="previous"/> to <paramref name="current"/> passed the event index.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    protected static bool PassedEvent(ushort eventIndex, ushort current, ushort previous) =>
        (ushort)(current - eventIndex - 1) < (ushort)(current - previous);

    protected bool Fail(VirtqueueFault fault, string text)
    {
        if (Fault == VirtqueueFault.None)
        {
            Fault = fault;
            FaultText = text;
        }

        return false;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    protected void BeginChain()
    {
        SegmentCount = 0;
        ReadableCount = 0;
        EmptyCount = 0;
        ReadableBytes = 0;
        WritableBytes = 0;
        IsReachable = true;
        _seenWritable = false;
    }

    /// <summary>Marks a head or an id as taken; false, and the queue is broken, when it is still in use.</summary>
    /// <param name="id">Below <see cref="Size"/>.</param>
    /// <param name="kind">What it is, for the message.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    protected bool TryOccupy(ushort id, string kind)
    {
        if (_inUse[id] != 0)
        {
            return FailOccupied(id, kind);
        }

        _inUse[id] = 1;
        return true;
    }

    /// <summary>The heads or ids of a batch may be used again: the driver has been shown their answers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    protected void Release(ReadOnlySpan<ushort> batch)
    {
        foreach (ushort id in batch)
        {
            _inUse[id] = 0;
        }
    }

    // Apart, so that what makes the text costs the way of a request nothing.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private bool FailOccupied(ushort id, string kind) =>
        Fail(VirtqueueFault.DescriptorInUse, $"The {kind} {id} was made available again before it was used.");

    protected bool FailLength() => Fail(
        VirtqueueFault.ChainTooLong,
        $"A chain has more than {Math.Min(Size, MaxDescriptors)} descriptors: it is a circle, or beyond any use.");

    /// <summary>Adds the buffer of one descriptor to the chain.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    protected bool AddBuffer(ulong address, uint length, ushort flags)
    {
        IoVec* next = Segments + SegmentCount;
        if ((flags & VIRTQ_DESC_F_WRITE) != 0)
        {
            _seenWritable = true;
            WritableBytes += length;
            int count = Memory.Translate(ref _window, address, length, MapAccess.Write, next, (int)(_segmentEnd - next));
            SegmentCount += count;
            return count > 0 || AddSlowly(count, address, length, MapAccess.Write);
        }
        else
        {
            ReadableBytes += length;
            int count = Memory.Translate(ref _window, address, length, MapAccess.Read, next, (int)(_segmentEnd - next));
            SegmentCount += count;
            ReadableCount = SegmentCount;
            return !_seenWritable & count > 0 || AddSlowly(count, address, length, MapAccess.Read);
        }
    }

    /// <summary>Checks what can only be checked at the end.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    protected bool EndChain() => ReadableBytes + WritableBytes <= uint.MaxValue
        || Fail(VirtqueueFault.ChainTooLarge, "The buffers of a chain have 4 GiB or more together.");

    /// <summary>
    /// Whether an indirect descriptor is acceptable; gives the number of entries of its table. The feature is always offered, so
    /// such descriptors are taken whether or not the driver acknowledged it: old Windows drivers use them without (spdk issue
    /// 650).
    /// </summary>
    protected bool CheckIndirect(uint length, ushort flags, out int entries)
    {
        entries = (int)(length / DescriptorBytes);
        if ((flags & VIRTQ_DESC_F_NEXT) != 0)
        {
            return Fail(VirtqueueFault.BadIndirectTable, "An indirect descriptor has a successor.");
        }

        return (length != 0 && length % DescriptorBytes == 0 && entries <= MaxDescriptors)
            || Fail(
                VirtqueueFault.BadIndirectTable,
                $"An indirect table has {length} bytes: it must have 16 for each of 1 to {MaxDescriptors} entries.");
    }

    /// <summary>The table's memory when it lies in one piece, or null.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    protected void* TryMapTable(ulong address, uint length)
    {
        IoVec table;
        return Memory.Translate(ref _window, address, length, MapAccess.Read, &table, 1) == 1 ? table.Base : null;
    }

    /// <summary>Copies 16 bytes that may lie in several regions, or in memory that is not known yet.</summary>
    protected bool TryReadEntry(ulong address, void* entry)
    {
        IoVec* parts = stackalloc IoVec[DescriptorBytes];
        int count = TranslateOrResolve(address, DescriptorBytes, MapAccess.Read, parts, DescriptorBytes);
        if (count <= 0)
        {
            return Fail(VirtqueueFault.BadIndirectTable, $"The entry at {address:x} of an indirect table is not in the guest's memory.");
        }

        var cursor = (byte*)entry;
        for (int i = 0; i < count; i++)
        {
            Unsafe.CopyBlockUnaligned(cursor, parts[i].Base, (uint)parts[i].Length);
            cursor += parts[i].Length;
        }

        return true;
    }

    /// <summary>Looks up an area of the ring; null, and the queue is broken, when it is not there.</summary>
    protected byte* MapArea(string name, ulong address, ulong length, uint alignment, bool isUserAddress, MapAccess access)
    {
        byte* area = isUserAddress ? Memory.TranslateUser(address, length, access) : Memory.TranslateContiguous(address, length, access);
        if (area is null && !isUserAddress && TryResolve(address))
        {
            area = Memory.TranslateContiguous(address, length, access);
        }

        if (area is null || (nuint)area % alignment != 0)
        {
            Fail(
                VirtqueueFault.RingNotMapped,
                $"The {name} at {address:x} with {length} bytes must lie in one region of the guest's memory, aligned to {alignment} bytes.");
            return null;
        }

        return area;
    }

    private bool AddSlowly(int count, ulong address, uint length, MapAccess access)
    {
        if (access == MapAccess.Read && _seenWritable)
        {
            return Fail(VirtqueueFault.ReadableAfterWritable, "A readable descriptor follows a writable one.");
        }

        if (count == 0)
        {
            // A descriptor of length 0 adds nothing.
            EmptyCount++;
            return true;
        }

        // Undo the negative result that the caller added.
        SegmentCount -= count;
        count = TranslateOrResolve(address, length, access, Segments + SegmentCount, (int)(_segmentEnd - (Segments + SegmentCount)));
        if (count < 0)
        {
            if (count == -Errno.ENOBUFS)
            {
                return Fail(VirtqueueFault.TooManySegments, $"A chain has more than {VirtioBlkQueue.MaxSegments} segments.");
            }

            NoteMissing(address, length, access == MapAccess.Write);
            return true;
        }

        SegmentCount += count;
        ReadableCount = access == MapAccess.Read ? SegmentCount : ReadableCount;
        return true;
    }

    private void NoteMissing(ulong address, uint length, bool isWritable)
    {
        if (IsReachable)
        {
            IsReachable = false;
            _writableIsMissing = false;
            _missingAddress = address;
            _missingLength = length;
        }

        EmptyCount++;
        if (isWritable)
        {
            _writableIsMissing = true;
            _segmentsBeforeMissing = SegmentCount;
        }
    }

    private int TranslateOrResolve(ulong address, uint length, MapAccess access, IoVec* destination, int capacity)
    {
        int count = Memory.Translate(ref _window, address, length, access, destination, capacity);

        // Each round must find the next missing piece, so that the loop ends.
        ulong missing = ulong.MaxValue;
        while (count == -Errno.EFAULT && _window.Missing != missing && address + length > address)
        {
            missing = _window.Missing;
            if (!TryResolve(missing))
            {
                break;
            }

            count = Memory.Translate(ref _window, address, length, access, destination, capacity);
        }

        return count;
    }

    private bool TryResolve(ulong address)
    {
        GuestMemory? larger = Memory.Resolver?.Resolve(Memory, address);
        if (larger is null)
        {
            return false;
        }

        Adopt(larger);
        return true;
    }

    /// <summary>Takes over a reference.</summary>
    private void Adopt(GuestMemory memory)
    {
        Memory.Release();
        Memory = memory;
    }
}
