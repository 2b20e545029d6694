// The memory of one session: the regions that the front-end has shared, and the table made of them.
//
// A table never changes; a new one is made for each change and handed to the queues by the caller. Mappings are counted: a region
// is unmapped when the last table that holds it is gone, which is after the last queue has let go of it.

using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;
using Polyblk.Virtio.Memory;
using Polyblk.Virtio.VhostUser;

namespace Polyblk.Frontends.VhostUser;

/// <summary>A region that the front-end shares, with what is needed to share it with a successor.</summary>
/// <param name="Region">Where it is mapped.</param>
/// <param name="OffsetBytes">Where it starts in its file.</param>
/// <param name="File">Its file; null where it was not kept.</param>
internal sealed record SharedRegion(GuestRegion Region, ulong OffsetBytes, KeptFile? File) : IDisposable
{
    public void Dispose()
    {
        Region.Mapping.Dispose();
        File?.Dispose();
    }
}

/// <summary>The regions of a session. The session's thread only.</summary>
/// <param name="mustBeSealed">Whether memory is refused that its owner could make shorter.</param>
/// <param name="onLost">Told when a part of the memory was found to be gone, because its owner made it shorter.</param>
/// <param name="onUnguarded">Told of memory whose owner can end this process by making it shorter: what it is, and why.</param>
/// <param name="onUnreachable">Told of read-only memory that is not mapped: what it is, and why.</param>
/// <param name="pinning">The permit to hold its pages, or null.</param>
internal sealed class BackendMemory(
    bool mustBeSealed, Action onLost, Action<string, string> onUnguarded, Action<string, string> onUnreachable, PinPermit? pinning = null)
    : IDisposable
{
    /// <summary>Regions that every session gets as long as there are any; those with more are refused earlier.</summary>
    private const int FewRegions = 32;

    /// <summary>
    /// Most regions. A queue finds nearly every address in the region that it used last, others by binary search, so many do no
    /// harm; it is the number of memory slots that KVM once had, and what other back-ends answer.
    /// </summary>
    public const int MaxSlots = 509;

    private List<SharedRegion> _regions = [];

    /// <summary>The present table; empty at the beginning.</summary>
    public GuestMemory Table { get; private set; } = new([]);

    /// <summary>Regions in the table.</summary>
    public IReadOnlyList<SharedRegion> Regions => _regions;

    /// <summary>
    /// Maps a region. Takes the descriptor over. What the descriptor allows only to be read is mapped so; where it lies on a file
    /// system that no memory is taken from (the image of a read-only NVDIMM), it stays out of reach, and requests that want
    /// something of it fail: the disk works all the same, since rings and answers are never in such memory.
    /// </summary>
    /// <exception cref="RefusedException">It cannot be mapped.</exception>
    public SharedRegion Map(in VhostUserMemoryRegion region, ForeignDescriptor given)
    {
        using ForeignDescriptor descriptor = given;
        SafeFileHandle file = descriptor.File;
        string what = $"memory at guest address 0x{region.guest_phys_addr:x}";
        (ulong offset, ulong size) = (region.mmap_offset, region.memory_size);
        MappedRegion mapping;
        if (ForeignMemory.IsReadOnly(file) && ForeignMemory.WhyRefused(file) is string why)
        {
            mapping = OrRefuse(what, () => MappedRegion.CreateUnreachable(file, offset, size, HasMany));
            onUnreachable(what, why);
        }
        else
        {
            mapping = Map(what, file, offset, size, least: MapAccess.Read);
        }

        return new SharedRegion(
            new GuestRegion(region.guest_phys_addr, region.userspace_addr, mapping), offset, KeptFile.Keep(descriptor));
    }

    /// <summary>Maps something that the front-end shares. The descriptor may be closed afterwards.</summary>
    /// <exception cref="RefusedException">It cannot be mapped, or could be made shorter and must not.</exception>
    public MappedRegion Map(
        string what, SafeFileHandle file, ulong offsetBytes, ulong sizeBytes, MapAccess least = MapAccess.ReadWrite)
    {
        if (ForeignMemory.WhyRefused(file) is string refusal)
        {
            throw new RefusedException($"{what}: {refusal}", fatal: true);
        }

        var options = new MapOptions { Least = least, OnLost = onLost, IsOneOfMany = HasMany };
        MappedRegion mapping = OrRefuse(what, () => MappedRegion.Map(file, offsetBytes, sizeBytes, options));
        if (mustBeSealed && !mapping.CannotShrink)
        {
            mapping.Dispose();
            throw new RefusedException(
                $"{what}: its owner could make it shorter. Share a memfd that is, or can be, sealed with F_SEAL_SHRINK, or serve without --sealed-memory.",
                fatal: true);
        }

        if (mapping.WhyUnguarded is string why)
        {
            onUnguarded(what, why);
        }

        return mapping;
    }

    /// <summary>Makes a table with one region more. On failure nothing has changed, and the region is let go.</summary>
    /// <returns>The table that was replaced: to be disposed when all queues have the new one.</returns>
    /// <exception cref="RefusedException">There are too many, or it overlaps another.</exception>
    public GuestMemory Add(SharedRegion region)
    {
        if (_regions.Count == MaxSlots)
        {
            region.Dispose();
            throw new RefusedException($"there are {MaxSlots} memory regions already, which is the most", fatal: true);
        }

        try
        {
            return Install([.. _regions, region]);
        }
        catch (RefusedException)
        {
            region.Dispose();
            throw;
        }
    }

    /// <summary>Whether the very same region is there already: the same addresses, of the same place in the same file.</summary>
    public bool Contains(SharedRegion region)
    {
        (ulong guest, ulong user, MappedRegion mapping) = region.Region;
        return _regions.Exists(r => r.Region is var its && its.GuestAddress == guest && its.UserAddress == user
            && its.Mapping.SizeBytes == mapping.SizeBytes && its.Mapping.File == mapping.File && its.Mapping.Access == mapping.Access);
    }

    /// <summary>Whether a region can be removed: known by its addresses and its size, the offset does not count.</summary>
    public bool Contains(in VhostUserMemoryRegion region) => IndexOf(region) >= 0;

    /// <summary>Makes a table without a region.</summary>
    public GuestMemory Remove(in VhostUserMemoryRegion region)
    {
        int index = IndexOf(region);
        SharedRegion removed = _regions[index];
        GuestMemory old = Install([.. _regions.Where((_, i) => i != index)]);
        removed.Dispose();
        return old;
    }

    /// <summary>Makes a table of other regions. On failure nothing has changed, and the new regions are let go.</summary>
    public GuestMemory Replace(List<SharedRegion> regions)
    {
        List<SharedRegion> before = _regions;
        GuestMemory old;
        try
        {
            old = Install(regions);
        }
        catch (RefusedException)
        {
            DisposeAll(regions);
            throw;
        }

        DisposeAll(before);
        return old;
    }

    /// <summary>Lets go of mappings.</summary>
    public static void DisposeAll(IEnumerable<SharedRegion> regions)
    {
        foreach (SharedRegion region in regions)
        {
            region.Dispose();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Table.Dispose();
        DisposeAll(_regions);
        _regions = [];
    }

    private bool HasMany => _regions.Count >= FewRegions;

    private static MappedRegion OrRefuse(string what, Func<MappedRegion> map)
    {
        try
        {
            return map();
        }
        catch (IOException e)
        {
            throw new RefusedException($"{what}: {e.Message}", fatal: true);
        }
    }

    private GuestMemory Install(List<SharedRegion> regions)
    {
        GuestMemory table;
        try
        {
            table = new GuestMemory([.. regions.Select(r => r.Region)], pinning: pinning);
        }
        catch (ArgumentException e)
        {
            throw new RefusedException(e.Message, fatal: true);
        }

        GuestMemory old = Table;
        Table = table;
        _regions = regions;
        return old;
    }

    private int IndexOf(VhostUserMemoryRegion region) => _regions.FindIndex(r =>
        r.Region.GuestAddress == region.guest_phys_addr && r.Region.UserAddress == region.userspace_addr
        && r.Region.Mapping.SizeBytes == region.memory_size);
}
