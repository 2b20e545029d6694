// The memory that is registered with all rings of a reactor. A ring that comes later (IOPOLL) gets what is there already; rings of
// other users (128-byte entries, for commands) get none.

using Polyblk.Core.Uring;

namespace Polyblk.Core.Reactors;

/// <summary>Counts who wants which memory pinned, and does a step of the work a turn. On the reactor's thread.</summary>
internal sealed unsafe class ReactorPins(Reactor reactor) : ReactorWork
{
    private readonly Dictionary<ISharedMemory, Pin> _pins = new(ReferenceEqualityComparer.Instance);
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
        foreach ((ISharedMemory memory, Pin pin) in _pins)
        {
            ring.Pinned.Add(memory.Address, memory.SizeBytes, pin.Refused);
        }

        Schedule();
    }

    /// <summary>The ring is about to be closed, and lets everything go.</summary>
    public void RemoveRing(IoUring ring) => _rings = Array.FindAll(_rings, r => !ReferenceEquals(r, ring));

    public void Add(ISharedMemory memory, Action<int>? refused)
    {
        if (_pins.TryGetValue(memory, out Pin? pin))
        {
            pin.Users++;
            return;
        }

        _pins.Add(memory, new Pin { Refused = refused });
        foreach (IoUring ring in _rings)
        {
            ring.Pinned.Add(memory.Address, memory.SizeBytes, refused);
        }

        Schedule();
    }

    public void Remove(ISharedMemory memory)
    {
        Pin pin = _pins[memory];
        if (--pin.Users > 0)
        {
            return;
        }

        _pins.Remove(memory);
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

    private sealed class Pin
    {
        public int Users { get; set; } = 1;

        public required Action<int>? Refused { get; init; }
    }
}
