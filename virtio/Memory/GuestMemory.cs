// The memory of a guest: a table of regions that never changes.
//
// A queue holds one table and a window, a copy of the region that it hit last: nearly every descriptor is answered by one
// comparison with the window. When the front-end adds or removes memory, a new table is made and given to each queue when nothing
// of the queue is in flight; the table holds references to its mappings, so memory is unmapped when no queue can point into it
// any more.
//
// An address is trusted with nothing: it is looked up, its end must not wrap, and a range that leaves a region continues only
// where the next region begins. Such a range becomes several segments.

using System.Runtime.CompilerServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Virtio.Memory;

/// <summary>A region of a guest's memory.</summary>
/// <param name="GuestAddress">Guest-physical address (or I/O virtual address) of its first byte.</param>
/// <param name="UserAddress">The front-end's own address of its first byte; 0 where there is none.</param>
/// <param name="Mapping">Where it is mapped; the region is as long as the mapping.</param>
public readonly record struct GuestRegion(ulong GuestAddress, ulong UserAddress, MappedRegion Mapping);

/// <summary>Finds memory that a table does not have yet (the IOTLB of VDUSE).</summary>
public interface IGuestMemoryResolver
{
    /// <summary>
    /// Returns a table that holds all regions of <paramref name="current"/> and one with <paramref name="guestAddress"/>, with a
    /// reference for the caller; or null when there is no such memory. Called on a reactor; a miss is rare and may do a system
    /// call.
    /// </summary>
    GuestMemory? Resolve(GuestMemory current, ulong guestAddress);
}

/// <summary>
/// The region that a translator hit last, copied so that a hit touches one cache line. Starts empty; one for each queue.
/// </summary>
public unsafe struct MemoryWindow
{
    internal ulong Guest;
    internal ulong Size;
    internal byte* Host;
    internal MapAccess Access;

    /// <summary>After a translation failed with -EFAULT: the first address that is not mapped for the access.</summary>
    internal ulong Missing;
}

/// <summary>An immutable table of regions with a reference count. It starts with one reference, its creator's.</summary>
public sealed unsafe class GuestMemory : IDisposable
{
    private readonly Region[] _regions;
    private int _references = 1;
    private int _disposed;

    /// <summary>Makes a table. It takes a reference of each mapping.</summary>
    /// <param name="regions">The regions, in any order.</param>
    /// <param name="resolver">Who can find more memory, or null.</param>
    /// <param name="pinning">The permit to hold the pages of it all, or null.</param>
    /// <exception cref="ArgumentException">A region wraps, or two overlap.</exception>
    public GuestMemory(IReadOnlyList<GuestRegion> regions, IGuestMemoryResolver? resolver = null, PinPermit? pinning = null)
    {
        ArgumentNullException.ThrowIfNull(regions);
        Regions = [.. regions.OrderBy(r => r.GuestAddress)];
        Resolver = resolver;
        Pinning = pinning;
        _regions = new Region[Regions.Count];
        ulong end = 0;
        for (int i = 0; i < _regions.Length; i++)
        {
            GuestRegion region = Regions[i];
            ulong size = region.Mapping.SizeBytes;
            if (region.GuestAddress > ulong.MaxValue - size || (region.UserAddress > ulong.MaxValue - size))
            {
                throw new ArgumentException($"The region at {region.GuestAddress:x} of {size:x} bytes wraps.");
            }

            if (i != 0 && region.GuestAddress < end)
            {
                throw new ArgumentException($"The region at {region.GuestAddress:x} overlaps the one before it, which ends at {end:x}.");
            }

            end = region.GuestAddress + size;
            _regions[i] = new Region
            {
                Guest = region.GuestAddress, Size = size, Host = region.Mapping.Address, User = region.UserAddress, Access = region.Mapping.Access,
            };
        }

        foreach (GuestRegion region in Regions)
        {
            region.Mapping.AddReference();
        }
    }

    /// <summary>The regions by guest address.</summary>
    public IReadOnlyList<GuestRegion> Regions { get; }

    /// <summary>Who can find more memory, or null.</summary>
    public IGuestMemoryResolver? Resolver { get; }

    /// <summary>The permit to hold the pages of all regions, or null.</summary>
    public PinPermit? Pinning { get; }

    /// <summary>Whether a part of it has gone (<see cref="MappedRegion.HasLost"/>).</summary>
    public bool HasLost => Regions.Any(r => r.Mapping.HasLost);

    /// <summary>Sum of the regions' sizes in bytes.</summary>
    public ulong SizeBytes => (ulong)_regions.Sum(r => (long)r.Size);

    /// <summary>One more user. Call it only while another reference is held.</summary>
    public void AddReference()
    {
        ObjectDisposedException.ThrowIf(Interlocked.Increment(ref _references) <= 1, this);
    }

    /// <summary>One user less; the last one lets the mappings go.</summary>
    public void Release()
    {
        if (Interlocked.Decrement(ref _references) == 0)
        {
            foreach (GuestRegion region in Regions)
            {
                region.Mapping.Release();
            }
        }
    }

    /// <summary>Gives back the creator's reference. Further calls do nothing.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            Release();
        }
    }

    /// <summary>Translates a guest range into segments.</summary>
    /// <param name="window">The caller's window.</param>
    /// <param name="guestAddress">First byte.</param>
    /// <param name="length">Length in bytes; 0 gives no segment.</param>
    /// <param name="access">What the device is going to do with it.</param>
    /// <param name="destination">Where the segments go.</param>
    /// <param name="capacity">How many fit there.</param>
    /// <returns>
    /// The number of segments, or -EFAULT when a part of the range is not mapped for that access or the range wraps, or -ENOBUFS
    /// when the segments do not fit.
    /// </returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int Translate(ref MemoryWindow window, ulong guestAddress, uint length, MapAccess access, IoVec* destination, int capacity)
    {
        ulong offset = guestAddress - window.Guest;
        if (offset < window.Size && window.Size - offset >= length && (window.Access & access) == access && length != 0 && capacity > 0)
        {
            *destination = new IoVec(window.Host + offset, length);
            return 1;
        }

        return TranslateSlowly(ref window, guestAddress, length, access, destination, capacity);
    }

    /// <summary>Translates a guest range that must be contiguous in this process; null when it is not, or not mapped.</summary>
    public byte* TranslateContiguous(ulong guestAddress, ulong length, MapAccess access = MapAccess.ReadWrite)
    {
        int index = Find(guestAddress);
        if (index < 0)
        {
            return null;
        }

        ulong offset = guestAddress - _regions[index].Guest;
        return Contains(index, offset, length, access) ? _regions[index].Host + offset : null;
    }

    /// <summary>
    /// Translates a range of the front-end's own addresses that must be contiguous; null when it is not, or not mapped.
    /// </summary>
    public byte* TranslateUser(ulong userAddress, ulong length, MapAccess access = MapAccess.ReadWrite)
    {
        for (int i = 0; i < _regions.Length; i++)
        {
            ulong offset = userAddress - _regions[i].User;
            if (offset < _regions[i].Size)
            {
                return Contains(i, offset, length, access) ? _regions[i].Host + offset : null;
            }
        }

        return null;
    }

    /// <summary>The guest address of a host address inside a region. For dirty logging.</summary>
    public bool TryGetGuestAddress(byte* host, out ulong guestAddress)
    {
        foreach (ref Region region in _regions.AsSpan())
        {
            ulong offset = (ulong)host - (ulong)region.Host;
            if (offset < region.Size)
            {
                guestAddress = region.Guest + offset;
                return true;
            }
        }

        guestAddress = 0;
        return false;
    }

    private bool Contains(int index, ulong offset, ulong length, MapAccess access) =>
        _regions[index].Size - offset >= length && (_regions[index].Access & access) == access;

    private int TranslateSlowly(
        ref MemoryWindow window, ulong guestAddress, uint length, MapAccess access, IoVec* destination, int capacity)
    {
        if (guestAddress + length < guestAddress)
        {
            window.Missing = guestAddress;
            return -Errno.EFAULT;
        }

        int count = 0;
        int index = Find(guestAddress);
        uint left = length;
        while (left != 0)
        {
            if ((uint)index >= (uint)_regions.Length || guestAddress - _regions[index].Guest >= _regions[index].Size
                || (_regions[index].Access & access) != access)
            {
                window.Missing = guestAddress;
                return -Errno.EFAULT;
            }

            if (count == capacity)
            {
                return -Errno.ENOBUFS;
            }

            ref Region region = ref _regions[index];
            ulong offset = guestAddress - region.Guest;
            uint part = (uint)Math.Min(left, region.Size - offset);
            destination[count++] = new IoVec(region.Host + offset, part);
            window = new MemoryWindow { Guest = region.Guest, Size = region.Size, Host = region.Host, Access = region.Access, Missing = guestAddress };
            guestAddress += part;
            left -= part;
            index++;
        }

        return count;
    }

    /// <summary>Index of the region that holds the address, or -1: a binary search.</summary>
    private int Find(ulong guestAddress)
    {
        int low = 0;
        int high = _regions.Length - 1;
        while (low <= high)
        {
            int middle = (low + high) >> 1;
            if (guestAddress < _regions[middle].Guest)
            {
                high = middle - 1;
            }
            else if (guestAddress - _regions[middle].Guest >= _regions[middle].Size)
            {
                low = middle + 1;
            }
            else
            {
                return middle;
            }
        }

        return -1;
    }

    private struct Region
    {
        public ulong Guest;
        public ulong Size;
        public ulong User;
        public byte* Host;
        public MapAccess Access;
    }
}
