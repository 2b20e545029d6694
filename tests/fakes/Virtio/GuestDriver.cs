// The driver's side of a virtqueue, played in plain memory: what a guest's kernel does, and, by way of the raw pointers, what it
// must not do. Single-threaded use or one thread against the device's: the barriers are a driver's.

using Polyblk.Virtio;

namespace Polyblk.Fakes.Virtio;

/// <summary>One buffer of a chain.</summary>
/// <param name="Address">Guest address.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Write">Whether the device writes it.</param>
public readonly record struct GuestBuffer(ulong Address, uint Length, bool Write);

/// <summary>The driver of a split or packed virtqueue.</summary>
public abstract class GuestDriver
{
    protected GuestDriver(GuestSpace space, int size, ulong features, ulong ringAddress)
    {
        Space = space;
        Size = size;
        Features = features;
        RingAddress = ringAddress;
        EventIdx = (features & VirtioFeatures.VIRTIO_F_EVENT_IDX) != 0;
    }

    /// <summary>Bytes that a ring of either kind takes at most, for 32768 entries.</summary>
    public static ulong RingBytes(int size) => (ulong)size * 32 + 4096;

    /// <summary>The guest's memory.</summary>
    public GuestSpace Space { get; }

    /// <summary>Entries.</summary>
    public int Size { get; }

    /// <summary>Negotiated features.</summary>
    public ulong Features { get; }

    /// <summary>Where the ring starts.</summary>
    public ulong RingAddress { get; }

    /// <summary>Whether EVENT_IDX is negotiated.</summary>
    public bool EventIdx { get; }

    /// <summary>The three areas, as guest addresses.</summary>
    public abstract VirtqueueAddresses Addresses { get; }

    /// <summary>Descriptors that are free.</summary>
    public abstract int FreeDescriptors { get; }

    /// <summary>The base of a fresh queue.</summary>
    public abstract uint StartBase { get; }

    /// <summary>Makes the driver that the features call for. The ring's memory must be zero.</summary>
    public static GuestDriver Create(GuestSpace space, int size, ulong features, ulong ringAddress) =>
        (features & VirtioFeatures.VIRTIO_F_RING_PACKED) != 0
            ? new PackedGuestDriver(space, size, features, ringAddress)
            : new SplitGuestDriver(space, size, features, ringAddress);

    /// <summary>
    /// Puts a chain into the ring without showing it. Returns its token, or -1 when there are too few free descriptors. With
    /// <paramref name="tableAddress"/> not 0 the last <paramref name="indirectCount"/> buffers go into an indirect table there.
    /// </summary>
    public abstract int Add(ReadOnlySpan<GuestBuffer> buffers, ulong tableAddress = 0, int indirectCount = int.MaxValue);

    /// <summary>Shows the device what was added. Returns whether it wants a kick.</summary>
    public abstract bool Publish();

    /// <summary>Takes the next answer.</summary>
    public abstract bool TryGetUsed(out int token, out uint length);

    /// <summary>Asks for calls; false when there are answers already.</summary>
    public abstract bool EnableCalls();

    /// <summary>Tells the device that calls are not needed.</summary>
    public abstract void DisableCalls();

    /// <summary>Adds and shows one chain.</summary>
    public int AddAndPublish(ReadOnlySpan<GuestBuffer> buffers, ulong tableAddress = 0)
    {
        int token = Add(buffers, tableAddress);
        if (token < 0)
        {
            throw new InvalidOperationException("The pretended driver has no free descriptors.");
        }

        Publish();
        return token;
    }
}
