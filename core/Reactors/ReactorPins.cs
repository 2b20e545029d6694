// The memory that is registered with all rings of a reactor: operations on it then save looking its pages up. A ring that comes
// later (IOPOLL) gets what is there already; rings of other users (128-byte entries, for commands) get none.
//
// io_uring holds the pages that it registers and wants to write them: it takes what comes with a permit for the first, and is
// writable.

using Polyblk.Core.Uring;

namespace Polyblk.Core.Reactors;

/// <summary>Registers shared memory with the rings, and does a step of the work a turn. On the reactor's thread.</summary>
internal sealed unsafe class ReactorPins(Reactor reactor) : ReactorWork, ISharedMemoryUser
{
    private readonly Dictionary<ISharedMemory, PinPermit> _pins = new(ReferenceEqualityComparer.Instance);
    private IoUring[] _rings = [];
    private bool _scheduled;

    /// <summary>A ring that drives use.</summary>
    public void AddRing(IoUring ring)
    {
        if ((ring.SetupFlags & UringAbi.IORING_SETUP_SQE128) != 0)
        {
            return;
        }

        _rings = [.. _rings, ring];
        foreach ((ISharedMemory memory, PinPermit permit) in _pins)
        {
            ring.Pinned.Add(memory.Address, memory.SizeBytes, permit.Refused);
        }

        Schedule();
    }

    /// <summary>The ring is about to be closed, and lets everything go.</summary>
    public void RemoveRing(IoUring ring) => _rings = Array.FindAll(_rings, r => !ReferenceEquals(r, ring));

    /// <inheritdoc/>
    public void OnShared(ISharedMemory memory, PinPermit? pinning)
    {
        if (pinning is null || !memory.IsWritable)
        {
            return;
        }

        _pins.Add(memory, pinning);
        foreach (IoUring ring in _rings)
        {
            ring.Pinned.Add(memory.Address, memory.SizeBytes, pinning.Refused);
        }

        Schedule();
    }

    /// <inheritdoc/>
    public void OnWithdrawn(ISharedMemory memory)
    {
        if (!_pins.Remove(memory))
        {
            return;
        }

        foreach (IoUring ring in _rings)
        {
            ring.Pinned.Remove(memory.Address);
        }

        Schedule();
    }

    /// <summary>The next step.</summary>
    public override void Run()
    {
        _scheduled = false;
        bool more = false;
        foreach (IoUring ring in _rings)
        {
            more |= ring.Pinned.Step();
        }

        if (more)
        {
            Schedule();
        }
    }

    private void Schedule()
    {
        if (!_scheduled)
        {
            _scheduled = true;
            reactor.Defer(this);
        }
    }
}
