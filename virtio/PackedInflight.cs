// The inflight log of a packed queue at work (vhost-user, 'Inflight I/O tracking').
//
// The driver overwrites a packed ring while requests are in flight, so the log keeps copies of the descriptors, in entries from a
// free list. Taking a chain fills entries from free_head on and ends with old_free_head = free_head, which commits it. Giving
// back:
//
//     W1  put the entries of the batch on the free list (free_head), advance used_idx and used_wrap_counter
//     W2  store the flags of the batch's first descriptor in the ring, which gives the batch to the driver
//     W3  inflight = 0 for the head entry of each
//     W4  old_free_head, old_used_idx, old_used_wrap_counter take the new values
//
// A successor that finds used_idx or used_wrap_counter different from the old ones looks at the ring: if the descriptor at
// old_used_idx is no longer available as it was, W2 happened, and W3 and W4 are finished; otherwise free_head, used_idx and
// used_wrap_counter go back. Between W1 and W4 nothing is taken, so the free list has one owner at a time.
//
// The front-end shares the region and may be hostile: what steers this code (links, heads, counts) is kept in private arrays and
// only written to the region. A predecessor's region is copied once, checked, and used from the copy.

using System.Diagnostics.CodeAnalysis;
using static Polyblk.Virtio.RingLayout;

namespace Polyblk.Virtio;

/// <summary>Marks and recovers the requests in flight of a packed queue.</summary>
internal sealed unsafe class PackedInflight
{
    private const ushort Version = 1;

    private readonly QueueRegionPacked* _region;
    private readonly DescStatePacked* _desc;
    private readonly int _size;
    private readonly DescStatePacked[] _own;
    private QueueRegionPacked _state;
    private readonly Action? _afterStore;
    private ulong _counter;
    private ushort _head;

    private PackedInflight(InflightLog log, Action? afterStore)
    {
        _afterStore = afterStore;
        _region = (QueueRegionPacked*)log.Address;
        _desc = (DescStatePacked*)(log.Address + HeaderBytes);
        _size = log.QueueSize;
        _own = new ReadOnlySpan<DescStatePacked>(_desc, _size).ToArray();
        _state = *_region;
    }

    /// <summary>Offset of the entries: the header is padded to the entries' alignment.</summary>
    public static int HeaderBytes => sizeof(QueueRegionPacked);

    /// <summary>The used index that the log says, with its wrap counter in bit 15.</summary>
    public ushort Used => (ushort)(_state.used_idx | (_state.used_wrap_counter << 15));

    /// <summary>Takes a log over: makes a fresh one usable, or finds what a predecessor had in flight.</summary>
    /// <param name="log">The region.</param>
    /// <param name="afterStore"><see cref="VirtqueueSetup.AfterStore"/>.</param>
    /// <param name="ring">The descriptor ring.</param>
    /// <param name="used">Where a fresh log starts: the used index with its wrap counter in bit 15.</param>
    /// <param name="inflight">The log at work.</param>
    /// <param name="entries">The head entries to resubmit, oldest first.</param>
    /// <param name="descriptors">How many ring entries they take together.</param>
    /// <param name="known">Whether a predecessor used the log: it then decides where to go on.</param>
    /// <param name="error">What is wrong with the log when the result is false.</param>
    public static bool TryAttach(
        InflightLog log, Action? afterStore, pvirtq_desc* ring, ushort used, [NotNullWhen(true)] out PackedInflight? inflight, out ushort[] entries,
        out int descriptors, out bool known, out string error)
    {
        inflight = new PackedInflight(log, afterStore);
        entries = [];
        descriptors = 0;
        known = inflight._state.version != 0;
        if (!known)
        {
            inflight.Initialize(log, used);
            error = string.Empty;
            return true;
        }

        error = inflight.CheckHeader();
        if (error.Length == 0)
        {
            inflight.FinishLastBatch(ring);
            entries = inflight.HeadsInFlight();
            error = inflight.CheckEntries(entries, out descriptors);
        }

        return error.Length == 0;
    }

    /// <summary>
    /// A chain is being taken. False when every entry is in use: more was taken than the queue has and was published.
    /// </summary>
    /// <param name="head">Its head entry.</param>
    public bool TryBeginTake(out ushort head)
    {
        head = _head = _state.free_head;
        if (head >= _size)
        {
            return false;
        }

        _own[_head].num = 0;
        _desc[_head].num = 0;
        _afterStore?.Invoke();
        _desc[_head].counter = _counter++;
        _afterStore?.Invoke();
        Volatile.Write(ref _desc[_head].inflight, 1);
        _afterStore?.Invoke();
        return true;
    }

    /// <summary>A descriptor of the chain that is being taken. False when every entry is in use.</summary>
    public bool TryTake(in pvirtq_desc desc)
    {
        ushort free = _state.free_head;
        if (free >= _size)
        {
            return false;
        }

        DescStatePacked* entry = _desc + free;
        entry->addr = desc.addr;
        entry->len = desc.len;
        entry->flags = desc.flags;
        entry->id = desc.id;
        _afterStore?.Invoke();
        _own[_head].last = free;
        _desc[_head].last = free;
        _afterStore?.Invoke();
        _desc[_head].num = ++_own[_head].num;
        _afterStore?.Invoke();
        _state.free_head = _own[free].next;
        Volatile.Write(ref _region->free_head, _state.free_head);
        _afterStore?.Invoke();
        return true;
    }

    /// <summary>The chain is complete: from now on it is in flight.</summary>
    public void EndTake()
    {
        Volatile.Write(ref _region->old_free_head, _state.free_head);
        _afterStore?.Invoke();
    }

    /// <summary>W1.</summary>
    /// <param name="heads">The head entries of the batch.</param>
    /// <param name="used">The used index after the batch, with its wrap counter in bit 15.</param>
    public void FreeBatch(ReadOnlySpan<ushort> heads, ushort used)
    {
        foreach (ushort head in heads)
        {
            ushort last = _own[head].last;
            _own[last].next = _state.free_head;
            _desc[last].next = _state.free_head;
            _afterStore?.Invoke();
            _state.free_head = head;
            Volatile.Write(ref _region->free_head, head);
            _afterStore?.Invoke();
        }

        _state.used_idx = (ushort)(used & 0x7FFF);
        _state.used_wrap_counter = (byte)(used >> 15);
        StoreUsed();
    }

    /// <summary>W3 and W4, after the flags were stored.</summary>
    public void UnmarkBatch(ReadOnlySpan<ushort> heads)
    {
        _afterStore?.Invoke();
        foreach (ushort head in heads)
        {
            Volatile.Write(ref _desc[head].inflight, 0);
            _afterStore?.Invoke();
        }

        WriteOld();
    }

    /// <summary>A recovered chain's next descriptor, starting with its head entry; returns the entry after it.</summary>
    public ushort Read(ushort entry, out pvirtq_desc desc)
    {
        ref DescStatePacked own = ref _own[entry];
        desc = new pvirtq_desc { addr = own.addr, len = own.len, id = own.id, flags = own.flags };
        return own.next;
    }

    /// <summary>How many descriptors the recovered chain with this head entry has.</summary>
    public int CountOf(ushort head) => _own[head].num;

    /// <summary>W4.</summary>
    private void WriteOld()
    {
        Volatile.Write(ref _region->old_free_head, _state.free_head);
        _afterStore?.Invoke();
        _state.old_used_idx = _state.used_idx;
        _state.old_used_wrap_counter = _state.used_wrap_counter;
        StoreUsed();
    }

    /// <summary>
    /// Stores used_idx, old_used_idx and both wrap counters at once; they share eight aligned bytes. Were the old index stored
    /// without its wrap counter, a successor could take a leftover of the last round, flagged as available, for a batch that was
    /// not given back.
    /// </summary>
    private void StoreUsed()
    {
        ulong word = _state.used_idx | ((ulong)_state.old_used_idx << 16) | ((ulong)_state.used_wrap_counter << 32)
            | ((ulong)_state.old_used_wrap_counter << 40);
        Volatile.Write(ref *(ulong*)&_region->used_idx, word);
        _afterStore?.Invoke();
    }

    private void Initialize(InflightLog log, ushort used)
    {
        log.Clear();
        _state = new QueueRegionPacked
        {
            desc_num = (ushort)_size,
            used_idx = (ushort)(used & 0x7FFF),
            old_used_idx = (ushort)(used & 0x7FFF),
            used_wrap_counter = (byte)(used >> 15),
            old_used_wrap_counter = (byte)(used >> 15),
        };
        for (int i = 0; i < _size; i++)
        {
            _own[i] = new DescStatePacked { next = (ushort)(i + 1) };
            _desc[i].next = (ushort)(i + 1);
        }

        *_region = _state;
        _state.version = Version;
        Volatile.Write(ref _region->version, Version);
        _afterStore?.Invoke();
    }

    private string CheckHeader()
    {
        if (_state.version != Version || _state.desc_num != _size)
        {
            return $"it has version {_state.version} and {_state.desc_num} entries; {Version} and {_size} were expected";
        }

        bool sound = _state.used_idx < _size && _state.old_used_idx < _size && _state.free_head <= _size && _state.old_free_head <= _size
            && _state.used_wrap_counter <= 1 && _state.old_used_wrap_counter <= 1;
        return sound ? string.Empty : "its indices are beyond its size";
    }

    private void FinishLastBatch(pvirtq_desc* ring)
    {
        int batch = (_state.used_idx - _state.old_used_idx + _size) % _size;
        bool wrapDiffers = _state.used_wrap_counter != _state.old_used_wrap_counter;
        bool committed = false;
        if (batch != 0 || wrapDiffers)
        {
            var flags = (ushort)(ring[_state.old_used_idx].flags & (VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED));
            committed = flags != (_state.old_used_wrap_counter != 0 ? VIRTQ_DESC_F_AVAIL : VIRTQ_DESC_F_USED);
        }

        if (committed)
        {
            // W2 happened. The batch's entries are the first ones of the free list.
            UnmarkFree(batch == 0 ? _size : batch);
            WriteOld();
        }
        else
        {
            _state.free_head = _state.old_free_head;
            _state.used_idx = _state.old_used_idx;
            _state.used_wrap_counter = _state.old_used_wrap_counter;
            Volatile.Write(ref _region->free_head, _state.free_head);
            _afterStore?.Invoke();
            StoreUsed();
        }

        // A chain that was being taken and was not complete.
        UnmarkFree(1);
    }

    /// <summary>The first entries of the free list are not in flight, whatever their marks say.</summary>
    private void UnmarkFree(int count)
    {
        ushort entry = _state.free_head;
        for (int i = 0; i < count && entry < _size; i++)
        {
            _own[entry].inflight = 0;
            Volatile.Write(ref _desc[entry].inflight, 0);
            _afterStore?.Invoke();
            entry = _own[entry].next;
        }
    }

    private ushort[] HeadsInFlight()
    {
        var found = new List<ushort>();
        for (int i = 0; i < _size; i++)
        {
            if (_own[i].inflight != 0)
            {
                found.Add((ushort)i);
                _counter = Math.Max(_counter, _own[i].counter + 1);
            }
        }

        found.Sort((a, b) => _own[a].counter.CompareTo(_own[b].counter));
        return [.. found];
    }

    /// <summary>Chains must lie in the table, be disjoint, and end where they say; the rest must be the free list.</summary>
    private string CheckEntries(ushort[] heads, out int descriptors)
    {
        var seen = new bool[_size];
        descriptors = 0;
        foreach (ushort head in heads)
        {
            ushort entry = head;
            int num = _own[head].num;
            for (int i = 0; i < num; i++)
            {
                if (entry >= _size || seen[entry] || (i == num - 1 && entry != _own[head].last))
                {
                    return $"the chain of its entry {head} is not sound at entry {entry}";
                }

                seen[entry] = true;
                entry = _own[entry].next;
            }

            descriptors += num;
            if (num == 0)
            {
                return $"its entry {head} is in flight and has no descriptors";
            }
        }

        int free = _state.free_head;
        for (int i = descriptors; i < _size; i++)
        {
            if (free >= _size || seen[free])
            {
                return $"its free list is not sound at entry {free}";
            }

            seen[free] = true;
            free = _own[free].next;
        }

        return string.Empty;
    }
}
