// The device's view of the driver's memory.
//
// The kernel hands out file descriptors for ranges of I/O virtual addresses: the bounce pages of virtio-vdpa, or a guest's memory
// with vhost-vdpa. A range is asked for when a queue misses an address, mapped, and kept for all queues. When the kernel says
// that mappings changed, all are forgotten; the queues are stopped at that moment, and find what they need anew.

using Polyblk.Core.Reactors;
using Polyblk.Virtio.Memory;

namespace Polyblk.Frontends.Vduse;

/// <summary>Maps I/O virtual memory on demand. Any thread.</summary>
/// <param name="kernel">Who has it.</param>
/// <param name="pinning">The permit to hold its pages, or null.</param>
internal sealed class VduseIotlb(IVduseKernel kernel, PinPermit? pinning) : IGuestMemoryResolver, IDisposable
{
    private readonly Lock _lock = new();
    private readonly List<GuestRegion> _regions = [];

    /// <summary>How many mappings are kept.</summary>
    public int Count
    {
        get
        {
            lock (_lock)
            {
                return _regions.Count;
            }
        }
    }

    /// <summary>A table of what is mapped now, which grows on demand. The caller disposes it.</summary>
    public GuestMemory Snapshot()
    {
        lock (_lock)
        {
            return new GuestMemory(_regions, this, pinning);
        }
    }

    public GuestMemory? Resolve(GuestMemory current, ulong guestAddress)
    {
        lock (_lock)
        {
            if (!_regions.Exists(r => guestAddress - r.GuestAddress < r.Mapping.SizeBytes))
            {
                if (kernel.MapIotlb(guestAddress) is not { } found)
                {
                    return null;
                }

                _regions.Add(new GuestRegion(found.Start, 0, found.Mapping));
            }

            return new GuestMemory(_regions, this, pinning);
        }
    }

    /// <summary>Forgets all mappings; memory goes when the last table that has it is released.</summary>
    public void Invalidate()
    {
        lock (_lock)
        {
            kernel.ForgetIotlb();
            _regions.ForEach(r => r.Mapping.Dispose());
            _regions.Clear();
        }
    }

    public void Dispose() => Invalidate();
}
