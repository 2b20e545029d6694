// The one place where a reactor knows of memory that others share with it.
//
// Theory of operation. Who brings memory (a virtqueue, with the regions of its guest) counts it in and out here, and knows of
// nobody who listens. Who has to prepare memory before requests come with it subscribes here: the rings, which register it with
// io_uring (ReactorPins.cs), or a device that reaches it by DMA. Several queues of a guest bring the same regions: users are told
// of the first and of the last of them. Memory that is in the old and in the new table of a queue stays throughout, when the new
// one is counted in before the old one is counted out.

namespace Polyblk.Core.Reactors;

/// <summary>The memory that is shared with a reactor, and who wants to know of it. On the reactor's thread.</summary>
public sealed class SharedMemory
{
    private readonly Reactor _reactor;
    private readonly Dictionary<ISharedMemory, Share> _shares = new(ReferenceEqualityComparer.Instance);
    private ISharedMemoryUser[] _users;

    internal SharedMemory(Reactor reactor, params ISharedMemoryUser[] users)
    {
        _reactor = reactor;
        _users = users;
    }

    /// <summary>Tells a user of all memory that is there, and of what comes and goes from now on.</summary>
    public void Subscribe(ISharedMemoryUser user)
    {
        ArgumentNullException.ThrowIfNull(user);
        _reactor.AssertCurrent();
        _users = [.. _users, user];
        foreach ((ISharedMemory memory, Share share) in _shares)
        {
            user.OnShared(memory, share.Pinning);
        }
    }

    /// <summary>Tells a user nothing any more; what it did for memory that is still there is its own to undo.</summary>
    public void Unsubscribe(ISharedMemoryUser user)
    {
        _reactor.AssertCurrent();
        _users = Array.FindAll(_users, u => !ReferenceEquals(u, user));
    }

    /// <summary>Counts memory in.</summary>
    /// <param name="memory">Memory that stays mapped until it is counted out as often.</param>
    /// <param name="pinning">The permit to hold its pages, or null. The first who brings the memory decides.</param>
    public void Add(ISharedMemory memory, PinPermit? pinning)
    {
        ArgumentNullException.ThrowIfNull(memory);
        _reactor.AssertCurrent();
        if (_shares.TryGetValue(memory, out Share? share))
        {
            share.Count++;
            return;
        }

        _shares.Add(memory, new Share { Pinning = pinning });
        foreach (ISharedMemoryUser user in _users)
        {
            user.OnShared(memory, pinning);
        }
    }

    /// <summary>Counts memory out.</summary>
    public void Remove(ISharedMemory memory)
    {
        ArgumentNullException.ThrowIfNull(memory);
        _reactor.AssertCurrent();
        if (--_shares[memory].Count > 0)
        {
            return;
        }

        _shares.Remove(memory);
        foreach (ISharedMemoryUser user in _users)
        {
            user.OnWithdrawn(memory);
        }
    }

    private sealed class Share
    {
        public int Count { get; set; } = 1;

        public required PinPermit? Pinning { get; init; }
    }
}
