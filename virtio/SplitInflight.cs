// The inflight log of a split queue at work (vhost-user, 'Inflight I/O tracking').
//
// A head is marked when it is taken, with a running counter that remembers the order. The marks of a batch of answers cannot be
// taken away together with the step of used.idx that gives the batch to the driver, so the batch is first linked into a list:
//
//     W1  link every head of the batch: next, last_batch_head      crash here: used.idx is as before, all are resubmitted
//     W2  used.idx += batch                                        crash here: used.idx differs from used_idx, so the list
//     W3  inflight = 0 for each                                    says which marks are stale, however many of them
//     W4  used_idx = used.idx                                      are gone already
//
// Each step is a release store: the successor, which sees memory as a killed process left it, finds a step only with all before
// it. The front-end shares the region and may be hostile: a predecessor's region is copied once, checked, and used from the copy,
// and later the region is only written.
//
// A resubmitted request may have reached the device before; the driver has not seen its answer, so to do it again changes
// nothing.

using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;

namespace Polyblk.Virtio;

/// <summary>Marks and recovers the requests in flight of a split queue.</summary>
internal sealed unsafe class SplitInflight
{
    private const ushort Version = 1;

    private readonly QueueRegionSplit* _region;
    private readonly DescStateSplit* _desc;
    private readonly int _size;
    private readonly DescStateSplit[] _own;
    private readonly QueueRegionSplit _state;
    private ushort _lastBatchHead;
    private readonly Action? _afterStore;
    private ulong _counter;

    private SplitInflight(InflightLog log, Action? afterStore)
    {
        _afterStore = afterStore;
        _region = (QueueRegionSplit*)log.Address;
        _desc = (DescStateSplit*)(log.Address + sizeof(QueueRegionSplit));
        _size = log.QueueSize;
        _own = new ReadOnlySpan<DescStateSplit>(_desc, _size).ToArray();
        _state = *_region;
        _lastBatchHead = _state.last_batch_head;
    }

    /// <summary>
    /// Takes a log over: makes a fresh one usable, or finds what a predecessor had in flight.
    /// </summary>
    /// <param name="log">The region.</param>
    /// <param name="afterStore"><see cref="VirtqueueSetup.AfterStore"/>.</param>
    /// <param name="usedIdx">The ring's used index.</param>
    /// <param name="availIdx">The ring's available index.</param>
    /// <param name="inflight">The log at work.</param>
    /// <param name="heads">The heads to resubmit, oldest first.</param>
    /// <param name="known">Whether a predecessor used the log: whatever was taken is then used or in <paramref
    /// name="heads"/>.</param>
    /// <param name="error">What is wrong with the log when the result is false.</param>
    public static bool TryAttach(
        InflightLog log, Action? afterStore, ushort usedIdx, ushort availIdx, [NotNullWhen(true)] out SplitInflight? inflight,
        out ushort[] heads, out bool known, out string error)
    {
        inflight = new SplitInflight(log, afterStore);
        heads = [];
        known = inflight._state.version != 0;
        if (!known)
        {
            inflight.Initialize(log, usedIdx);
            error = string.Empty;
            return true;
        }

        error = inflight.Check(usedIdx);
        if (error.Length == 0)
        {
            inflight.FinishLastBatch(usedIdx);
            heads = inflight.HeadsInFlight();
            error = (ushort)(availIdx - usedIdx) < heads.Length
                ? $"it has {heads.Length} requests in flight, but the ring only {(ushort)(availIdx - usedIdx)}" : string.Empty;
        }

        return error.Length == 0;
    }

    /// <summary>A head was taken from the available ring.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Take(ushort head)
    {
        _desc[head].counter = _counter++;
        _afterStore?.Invoke();
        Volatile.Write(ref _desc[head].inflight, 1);
        _afterStore?.Invoke();
    }

    /// <summary>W1.</summary>
    public void LinkBatch(ReadOnlySpan<ushort> heads)
    {
        foreach (ushort head in heads)
        {
            _desc[head].next = _lastBatchHead;
            _afterStore?.Invoke();
            _lastBatchHead = head;
            Volatile.Write(ref _region->last_batch_head, head);
            _afterStore?.Invoke();
        }
    }

    /// <summary>W3 and W4, after used.idx was stored.</summary>
    public void UnmarkBatch(ReadOnlySpan<ushort> heads, ushort usedIdx)
    {
        _afterStore?.Invoke();
        foreach (ushort head in heads)
        {
            Volatile.Write(ref _desc[head].inflight, 0);
            _afterStore?.Invoke();
        }

        Volatile.Write(ref _region->used_idx, usedIdx);
        _afterStore?.Invoke();
    }

    private void Initialize(InflightLog log, ushort usedIdx)
    {
        log.Clear();
        _lastBatchHead = 0;
        _region->desc_num = (ushort)_size;
        _region->used_idx = usedIdx;
        _afterStore?.Invoke();
        Volatile.Write(ref _region->version, Version);
        _afterStore?.Invoke();
    }

    private string Check(ushort usedIdx)
    {
        if (_state.version != Version || _state.desc_num != _size)
        {
            return $"it has version {_state.version} and {_state.desc_num} entries; {Version} and {_size} were expected";
        }

        int batch = (ushort)(usedIdx - _state.used_idx);
        if (batch > _size)
        {
            // The driver started afresh, and nothing was in flight: only the index is old.
            return HeadsInFlight().Length == 0 ? string.Empty : $"its used index {_state.used_idx} is not near the ring's, {usedIdx}";
        }

        ushort head = _state.last_batch_head;
        for (int i = 0; i < batch; i++)
        {
            if (head >= _size)
            {
                return $"its list of the last batch leads to entry {head} of {_size}";
            }

            head = _own[head].next;
        }

        return string.Empty;
    }

    /// <summary>
    /// W3 and W4 for a predecessor that died after W2. Exactly as many entries as used.idx is ahead are unmarked: none when it is
    /// not, even though the list's head then names an entry (0 in a fresh log) that may well be in flight.
    /// </summary>
    private void FinishLastBatch(ushort usedIdx)
    {
        int batch = (ushort)(usedIdx - _state.used_idx);
        ushort head = _state.last_batch_head;
        for (int i = 0; i < batch && batch <= _size; i++)
        {
            _own[head].inflight = 0;
            Volatile.Write(ref _desc[head].inflight, 0);
            _afterStore?.Invoke();
            head = _own[head].next;
        }

        Volatile.Write(ref _region->used_idx, usedIdx);
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
}
