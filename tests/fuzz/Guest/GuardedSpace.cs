// The memory of a guest in a fuzz target. Every region lies between two pages that nobody may touch, so that an access beyond
// it ends the process.
//
// Beside the memory there is a picture of it and a mask. What the target itself writes goes into both the memory and the
// picture; what the device may write is allowed in the mask. Where memory and picture differ, the device wrote, and the mask
// says whether it was allowed to. The mask is generous: it holds whatever any descriptor made writable since the device was
// last idle.

using Polyblk.Virtio.Memory;

namespace Polyblk.Fuzz.Guest;

/// <summary>Guarded memory with a record of what the device may write.</summary>
internal sealed unsafe class GuardedSpace : IDisposable
{
    /// <summary>The descriptor table or ring; rings are laid out so that they end where the region ends.</summary>
    public const ulong TableAddress = 0x1000_0000;

    /// <summary>The other parts of the ring.</summary>
    public const ulong RingAddress = 0x1000_2000;

    /// <summary>Headers and data.</summary>
    public const ulong DataAddress = 0x2000_0000;

    /// <summary>For the guest this continues the data; for the host it is somewhere else.</summary>
    public const ulong NextAddress = 0x2000_2000;

    /// <summary>Statuses, behind a hole.</summary>
    public const ulong FarAddress = 0x2001_0000;

    /// <summary>Memory that the device may only read.</summary>
    public const ulong ReadOnlyAddress = 0x2002_0000;

    private static readonly (ulong Guest, ulong Bytes, MapAccess Access)[] s_layout =
    [
        (TableAddress, 4096, MapAccess.ReadWrite),
        (RingAddress, 4096, MapAccess.ReadWrite),
        (DataAddress, 8192, MapAccess.ReadWrite),
        (NextAddress, 4096, MapAccess.ReadWrite),
        (FarAddress, 4096, MapAccess.ReadWrite),
        (ReadOnlyAddress, 4096, MapAccess.Read),
    ];

    private readonly Region[] _regions;

    /// <summary>Maps it, full of zeroes.</summary>
    public GuardedSpace()
    {
        _regions = [.. s_layout.Select(l => new Region(l.Guest, MappedRegion.CreateGuarded(l.Bytes, l.Access)))];
        Memory = Table(leftOut: -1);
    }

    /// <summary>All regions as the device's table.</summary>
    public GuestMemory Memory { get; }

    /// <summary>
    /// Whether the device may write all that the guest shares for writing: what it was told to write cannot be known.
    /// </summary>
    public bool AllowsAll { get; set; }

    /// <summary>How many regions there are.</summary>
    public int RegionCount => _regions.Length;

    /// <summary>A table without one of the regions; the caller disposes it.</summary>
    public GuestMemory Table(int leftOut) => new(
    [
        .. _regions.Where((_, i) => i != leftOut).Select(r => new GuestRegion(r.Guest, UserAddressOf(r.Guest), r.Mapping)),
    ]);

    /// <summary>The front-end's address of a guest address.</summary>
    public static ulong UserAddressOf(ulong guest) => guest + 0x7F00_0000_0000;

    /// <summary>The host address of a guest range, or null where it does not lie in one region.</summary>
    public byte* At(ulong guest, ulong length = 1) =>
        Find(guest) is { } region && region.Mapping.SizeBytes - (guest - region.Guest) >= length
        ? region.Mapping.Address + (guest - region.Guest)
        : null;

    /// <summary>
    /// What the guest writes. Bytes outside of its memory, and those that it shares for reading only, are left out.
    /// </summary>
    public void Write(ulong guest, ReadOnlySpan<byte> bytes)
    {
        for (int i = 0; i < bytes.Length; i++)
        {
            if (Find(guest + (ulong)i) is { IsWritable: true } region)
            {
                int at = (int)(guest + (ulong)i - region.Guest);
                region.Mapping.Address[at] = bytes[i];
                region.Picture[at] = bytes[i];
            }
        }
    }

    /// <summary>What the guest writes.</summary>
    public void Write<T>(ulong guest, T value)
        where T : unmanaged => Write(guest, new ReadOnlySpan<byte>(&value, sizeof(T)));

    /// <summary>What is there; bytes outside are zero.</summary>
    public T Read<T>(ulong guest)
        where T : unmanaged
    {
        T value = default;
        for (int i = 0; i < sizeof(T); i++)
        {
            byte* at = At(guest + (ulong)i);
            ((byte*)&value)[i] = at is null ? (byte)0 : *at;
        }

        return value;
    }

    /// <summary>The device may write this range from now on.</summary>
    public void Allow(ulong guest, ulong length)
    {
        foreach (Region region in _regions)
        {
            ulong end = guest + length < guest ? ulong.MaxValue : guest + length;
            ulong from = Math.Max(guest, region.Guest);
            ulong to = Math.Min(end, region.Guest + region.Mapping.SizeBytes);
            if (from < to && region.IsWritable)
            {
                region.Mask.AsSpan((int)(from - region.Guest), (int)(to - from)).Fill(1);
            }
        }
    }

    /// <summary>The device may write nothing any more.</summary>
    public void ForbidAll()
    {
        foreach (Region region in _regions)
        {
            Array.Clear(region.Mask);
        }
    }

    /// <summary>
    /// Whether a buffer that the device is about to use lies in the guest's memory, and may be written where it is going to be.
    /// </summary>
    public bool MayUse(byte* host, nuint length, bool writes)
    {
        foreach (Region region in _regions)
        {
            ulong offset = (ulong)(host - region.Mapping.Address);
            if (offset < region.Mapping.SizeBytes && region.Mapping.SizeBytes - offset >= length)
            {
                return !writes
                    || (region.IsWritable && (AllowsAll || region.Mask.AsSpan((int)offset, (int)length).IndexOf((byte)0) < 0));
            }
        }

        return false;
    }

    /// <summary>Takes the device's writes into the picture, and throws at one that was not allowed.</summary>
    public void Check()
    {
        foreach (Region region in _regions)
        {
            var memory = new ReadOnlySpan<byte>(region.Mapping.Address, region.Picture.Length);
            if (memory.SequenceEqual(region.Picture))
            {
                continue;
            }

            for (int i = 0; i < memory.Length && !AllowsAll; i++)
            {
                FuzzFailureException.Require(
                    memory[i] == region.Picture[i] || region.Mask[i] != 0,
                    $"The device wrote 0x{memory[i]:x} over 0x{region.Picture[i]:x} "
                        + $"at guest address 0x{region.Guest + (ulong)i:x}, which is no buffer.");
            }

            memory.CopyTo(region.Picture);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Memory.Dispose();
        foreach (Region region in _regions)
        {
            region.Mapping.Dispose();
        }
    }

    private Region? Find(ulong guest)
    {
        foreach (Region region in _regions)
        {
            if (guest - region.Guest < region.Mapping.SizeBytes)
            {
                return region;
            }
        }

        return null;
    }

    private sealed class Region(ulong guest, MappedRegion mapping)
    {
        public ulong Guest { get; } = guest;

        public MappedRegion Mapping { get; } = mapping;

        public bool IsWritable => (Mapping.Access & MapAccess.Write) != 0;

        public byte[] Picture { get; } = new byte[mapping.SizeBytes];

        public byte[] Mask { get; } = new byte[mapping.SizeBytes];
    }
}
