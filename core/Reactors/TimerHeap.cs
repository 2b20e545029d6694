// The timers of one reactor: a binary heap by due time, with each timer knowing its place so that it can be moved or taken out.

namespace Polyblk.Core.Reactors;

/// <summary>A binary min-heap of <see cref="ReactorTimer"/>. One thread.</summary>
internal sealed class TimerHeap
{
    private ReactorTimer[] _heap = new ReactorTimer[64];
    private int _count;

    /// <summary>When the next timer is due; <see cref="long.MaxValue"/> without timers.</summary>
    public long NextDueNs => _count == 0 ? long.MaxValue : _heap[0].DueNs;

    /// <summary>Schedules a timer, or moves one that is scheduled already.</summary>
    public void Set(ReactorTimer timer, long dueNs)
    {
        if (timer.IsScheduled)
        {
            Remove(timer);
        }

        if (_count == _heap.Length)
        {
            Array.Resize(ref _heap, _heap.Length * 2);
        }

        timer.DueNs = dueNs;
        SiftUp(timer, _count++);
    }

    /// <summary>Takes a timer out; nothing happens when it is not scheduled.</summary>
    public void Remove(ReactorTimer timer)
    {
        int hole = timer.HeapIndex;
        if (hole == ReactorTimer.NotScheduled)
        {
            return;
        }

        timer.HeapIndex = ReactorTimer.NotScheduled;
        ReactorTimer last = _heap[--_count];
        _heap[_count] = null!;
        if (!ReferenceEquals(last, timer))
        {
            SiftDown(last, hole);
            if (last.HeapIndex == hole)
            {
                SiftUp(last, hole);
            }
        }
    }

    /// <summary>
    /// Fires timers that are due at <paramref name="nowNs"/>, at most as many as there are now: one that schedules itself for a
    /// time that has passed fires again in the next call and cannot hold this one. Returns how many were fired.
    /// </summary>
    public int RunDue(long nowNs)
    {
        int fired = 0;
        int limit = _count;
        while (fired < limit && _count != 0 && _heap[0].DueNs <= nowNs)
        {
            ReactorTimer timer = _heap[0];
            Remove(timer);
            timer.OnDue();
            fired++;
        }

        return fired;
    }

    private void SiftUp(ReactorTimer timer, int hole)
    {
        while (hole > 0)
        {
            int parent = (hole - 1) / 2;
            if (_heap[parent].DueNs <= timer.DueNs)
            {
                break;
            }

            Place(_heap[parent], hole);
            hole = parent;
        }

        Place(timer, hole);
    }

    private void SiftDown(ReactorTimer timer, int hole)
    {
        while (true)
        {
            int child = (hole * 2) + 1;
            if (child >= _count)
            {
                break;
            }

            if (child + 1 < _count && _heap[child + 1].DueNs < _heap[child].DueNs)
            {
                child++;
            }

            if (timer.DueNs <= _heap[child].DueNs)
            {
                break;
            }

            Place(_heap[child], hole);
            hole = child;
        }

        Place(timer, hole);
    }

    private void Place(ReactorTimer timer, int index)
    {
        _heap[index] = timer;
        timer.HeapIndex = index;
    }
}
