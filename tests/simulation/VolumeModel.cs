// What a volume may hold. Blocks say who wrote them, so that from what is read it can be told which write it is, and whether that
// may still be there.
//
// The rule: a block holds the content of a write, or what it held in the beginning, that no other write has certainly replaced.
// One has certainly replaced another when it was begun after the other had ended, and it is settled: acknowledged, and after a
// loss of power also flushed. What failed, or was never answered, may be there and settles nothing. Zeroes are a content that
// writes of zeroes, discards (which settle nothing) and the beginning share.

using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Polyblk.Simulation.Tests;

/// <summary>A write of the model: when it was begun, ended and made durable, in steps of the model; 0 is not yet.</summary>
internal sealed class ModelWrite
{
    public int Id { get; init; }

    public bool IsZero { get; init; }

    public bool IsDiscard { get; init; }

    public long Started { get; init; }

    public long Ended { get; set; }

    public long Acknowledged { get; set; }

    public long Durable { get; set; }
}

/// <summary>See the top of the file.</summary>
internal sealed class VolumeModel(long sizeBytes)
{
    public const int BlockBytes = 512;

    private List<ModelWrite>?[] _history = new List<ModelWrite>?[sizeBytes / BlockBytes];
    private bool[] _isExcused = new bool[sizeBytes / BlockBytes];
    private readonly Dictionary<long, List<ModelWrite>> _beforeSettled = [];
    private readonly List<ModelWrite> _undurable = [];
    private long _step;
    private int _nextId;

    /// <summary>Now.</summary>
    public long Step() => ++_step;

    /// <summary>The volume has grown: what is new holds zeroes.</summary>
    public void Grow(long newSizeBytes)
    {
        Array.Resize(ref _history, (int)(newSizeBytes / BlockBytes));
        Array.Resize(ref _isExcused, (int)(newSizeBytes / BlockBytes));
    }

    /// <summary>Begins a write and makes its content.</summary>
    public (ModelWrite Write, byte[] Data) BeginWrite(long offset, int length)
    {
        ModelWrite write = Begin(new ModelWrite { Id = ++_nextId, Started = ++_step }, offset, length);
        var data = new byte[length];
        for (int at = 0; at < length; at += BlockBytes)
        {
            Fill(data.AsSpan(at, BlockBytes), write.Id, (offset + at) / BlockBytes);
        }

        return (write, data);
    }

    /// <summary>Begins a zeroing, or a discard.</summary>
    public ModelWrite BeginZeroes(long offset, int length, bool discard) =>
        Begin(new ModelWrite { Id = ++_nextId, Started = ++_step, IsZero = true, IsDiscard = discard }, offset, length);

    /// <summary>A write was answered.</summary>
    public void End(ModelWrite write, bool success)
    {
        write.Ended = ++_step;
        if (success)
        {
            write.Acknowledged = _step;
            _undurable.Add(write);
        }
    }

    /// <summary>A flush that was begun at a step succeeded.</summary>
    public void Flushed(long begun)
    {
        long now = ++_step;
        foreach (ModelWrite write in _undurable.Where(w => w.Acknowledged < begun))
        {
            write.Durable = now;
        }

        _undurable.RemoveAll(w => w.Durable != 0);
    }

    /// <summary>
    /// Power was lost: nothing is in flight any more. Blocks with writes that were not durable are added to <paramref
    /// name="open"/>.
    /// </summary>
    public void LosePower(SortedSet<long> open)
    {
        for (int block = 0; block < _history.Length; block++)
        {
            List<ModelWrite>? history = _history[block];
            if (history is null)
            {
                continue;
            }

            long lastDurable = LastDurable(history);
            bool isOpen = false;
            foreach (ModelWrite write in CollectionsMarshal.AsSpan(history))
            {
                isOpen |= write.Durable == 0 && !IsReplaced(write, lastDurable);
                write.Ended = write.Ended == 0 ? _step : write.Ended;
            }

            if (isOpen)
            {
                open.Add(block);
            }
        }

        _undurable.Clear();
    }

    /// <summary>Adds the blocks that are being written.</summary>
    public void AddInFlight(SortedSet<long> open)
    {
        for (int block = 0; block < _history.Length; block++)
        {
            if (_history[block] is { } history && history.Exists(w => w.Ended == 0))
            {
                open.Add(block);
            }
        }
    }

    /// <summary>A block whose content nobody answers for from now on.</summary>
    public void Excuse(long block) => _isExcused[block] = true;

    /// <summary>
    /// Copies of these blocks may still differ, and the one that was read is lost: what the others may hold since the losses of
    /// power counts again.
    /// </summary>
    public void Unsettle(IEnumerable<long> blocks)
    {
        foreach (long block in blocks)
        {
            if (_beforeSettled.Remove(block, out List<ModelWrite>? before))
            {
                ModelWrite settled = _history[block]![0];
                settled.Acknowledged = settled.Durable = 0;
                _history[block]!.InsertRange(0, before);
            }
        }
    }

    /// <summary>All copies agree: what was found after losses of power is all there is.</summary>
    public void ForgetUnsettled() => _beforeSettled.Clear();

    /// <summary>Judges what was read. Returns what is wrong, or null.</summary>
    /// <param name="offset">Where it was read.</param>
    /// <param name="data">What was read.</param>
    /// <param name="begun">The step at which the read was begun.</param>
    /// <param name="powerWasLost">Whether only flushed writes are settled.</param>
    public string? Judge(long offset, ReadOnlySpan<byte> data, long begun, bool powerWasLost)
    {
        Span<byte> expected = stackalloc byte[BlockBytes];
        for (int at = 0; at < data.Length; at += BlockBytes)
        {
            long block = (offset + at) / BlockBytes;
            ReadOnlySpan<byte> found = data.Slice(at, BlockBytes);
            ReadOnlySpan<ModelWrite> history = CollectionsMarshal.AsSpan(_history[block]);

            // What settled first of all replaces what had ended before the last of them was begun.
            bool isSettled = false, isTorn = _isExcused[block];
            long lastSettled = 0;
            foreach (ModelWrite write in history)
            {
                // A block that was being written during the read may be torn for the reader.
                isTorn |= !powerWasLost && (write.Ended == 0 || write.Ended > begun);
                long settled = write.IsDiscard ? 0 : powerWasLost ? write.Durable : write.Acknowledged;
                if (settled != 0 && settled < begun)
                {
                    isSettled = true;
                    lastSettled = Math.Max(lastSettled, write.Started);
                }
            }

            if (isTorn)
            {
                continue;
            }

            int id = BinaryPrimitives.ReadInt32LittleEndian(found);
            expected.Clear();
            if (id != 0)
            {
                Fill(expected, id, block);
            }

            if (!found.SequenceEqual(expected))
            {
                return $"block {block} is torn or foreign (it names write {id})";
            }

            bool isPossible = id == 0 && !isSettled;
            foreach (ModelWrite write in history)
            {
                bool isIts = id == 0 ? write.IsZero : write.Id == id;
                isPossible |= isIts && write.Started <= begun && !IsReplaced(write, lastSettled);
            }

            if (!isPossible)
            {
                return $"block {block} holds write {id}: {Describe(_history[block] ?? [], id)}";
            }
        }

        return null;
    }

    /// <summary>After a loss of power, and a judgement: what was found is what is there, whatever comes.</summary>
    public void Settle(long offset, ReadOnlySpan<byte> data)
    {
        for (int at = 0; at < data.Length; at += BlockBytes)
        {
            long block = (offset + at) / BlockBytes;
            List<ModelWrite>? history = _history[block];
            if (history is null)
            {
                continue;
            }

            foreach (ModelWrite write in CollectionsMarshal.AsSpan(history))
            {
                write.Acknowledged = write.Durable == 0 ? 0 : write.Acknowledged;
            }

            if (!_beforeSettled.TryAdd(block, [.. history]))
            {
                _beforeSettled[block].AddRange(history);
            }

            int id = BinaryPrimitives.ReadInt32LittleEndian(data[at..]);
            history.Clear();
            history.Add(new ModelWrite { Id = id, IsZero = id == 0, Started = _step, Ended = _step, Acknowledged = _step, Durable = _step });
        }

        _step++;
    }

    private ModelWrite Begin(ModelWrite write, long offset, int length)
    {
        for (long block = offset / BlockBytes; block < (offset + length) / BlockBytes; block++)
        {
            List<ModelWrite> history = _history[block] ??= [];
            if (history.Count == history.Capacity)
            {
                Prune(history);
            }

            history.Add(write);
        }

        return write;
    }

    /// <summary>
    /// Takes out what can never be read again. The first one stays: it may be what was found after a loss of power
    /// (<see cref="Unsettle"/>).
    /// </summary>
    private static void Prune(List<ModelWrite> history)
    {
        long lastDurable = LastDurable(history);
        Span<ModelWrite> all = CollectionsMarshal.AsSpan(history);
        int kept = Math.Min(1, all.Length);
        foreach (ModelWrite write in all[kept..])
        {
            if (!IsReplaced(write, lastDurable))
            {
                all[kept++] = write;
            }
        }

        history.RemoveRange(kept, history.Count - kept);
        if (kept > history.Capacity / 2)
        {
            history.EnsureCapacity(history.Capacity * 2);
        }
    }

    /// <summary>When the last of the durable writes was begun; 0 without one.</summary>
    private static long LastDurable(List<ModelWrite> history)
    {
        long last = 0;
        foreach (ModelWrite write in CollectionsMarshal.AsSpan(history))
        {
            last = write.IsDiscard || write.Durable == 0 ? last : Math.Max(last, write.Started);
        }

        return last;
    }

    /// <summary>Whether a write had ended when one was begun that has settled.</summary>
    private static bool IsReplaced(ModelWrite write, long settledSince) => write.Ended != 0 && write.Ended < settledSince;

    private static string Describe(List<ModelWrite> history, int id) => string.Join(
        "; ",
        history.Where(w => w.Id >= id - 1 || w.Acknowledged != 0).TakeLast(8).Select(w =>
            $"write {w.Id}{(w.IsDiscard ? " (discard)" : w.IsZero ? " (zeroes)" : string.Empty)} started {w.Started}, ended {w.Ended}, "
            + $"acknowledged {w.Acknowledged}, durable {w.Durable}"));

    private static void Fill(Span<byte> block, int id, long number)
    {
        block.Fill((byte)(id * 31));
        BinaryPrimitives.WriteInt32LittleEndian(block, id);
        BinaryPrimitives.WriteInt64LittleEndian(block[4..], number);
        BinaryPrimitives.WriteInt32LittleEndian(block[^4..], id ^ (int)number);
    }
}
