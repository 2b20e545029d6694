// The way into a reactor from another thread: many senders, one receiver, no lock, no allocation.
//
// Senders push onto a stack with one compare-and-swap; the receiver takes the whole stack with one exchange and turns it round,
// so that work runs in the order in which its pushes succeeded. There is no ABA problem: the receiver never pops single nodes. A
// node may be pushed again as soon as the receiver runs it, since the receiver has read its link before.

using System.Runtime.CompilerServices;

namespace Polyblk.Core.Reactors;

/// <summary>A lock-free mailbox: any thread posts, one takes.</summary>
internal sealed class Mailbox
{
    private ReactorWork? _top;

    /// <summary>Whether nothing is waiting. Exact for the receiver after a full fence.</summary>
    public bool IsEmpty => Volatile.Read(ref _top) is null;

    /// <summary>
    /// Adds work. A full fence on every architecture (compare-and-swap), on which <see cref="SleepGate"/> relies.
    /// </summary>
    public void Post(ReactorWork work)
    {
        ReactorWork? seen = Volatile.Read(ref _top);
        while (true)
        {
            work.NextWork = seen;
            ReactorWork? found = Interlocked.CompareExchange(ref _top, work, seen);
            if (ReferenceEquals(found, seen))
            {
                return;
            }

            seen = found;
        }
    }

    /// <summary>Takes everything, oldest first, linked by <see cref="ReactorWork.NextWork"/>; null when empty.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ReactorWork? TakeAll() => Volatile.Read(ref _top) is null ? null : TakeAndReverse();

    private ReactorWork? TakeAndReverse()
    {
        ReactorWork? node = Interlocked.Exchange(ref _top, null);
        ReactorWork? oldest = null;
        while (node is not null)
        {
            ReactorWork? next = node.NextWork;
            node.NextWork = oldest;
            oldest = node;
            node = next;
        }

        return oldest;
    }
}
