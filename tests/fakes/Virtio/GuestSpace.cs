// The memory of a pretended guest: regions of anonymous memory at chosen guest addresses, next to each other or with holes
// between.

using Polyblk.Virtio.Memory;

namespace Polyblk.Fakes.Virtio;

/// <summary>Guest-physical memory that the test reads and writes by guest address.</summary>
public sealed unsafe class GuestSpace : IDisposable
{
    private readonly List<(ulong Guest, MappedRegion Region)> _regions = [];

    /// <summary>Maps regions: a guest address and a size each.</summary>
    public GuestSpace(params (ulong Guest, ulong Size)[] regions)
    {
        foreach ((ulong guest, ulong size) in regions)
        {
            _regions.Add((guest, MappedRegion.CreateAnonymous(size)));
        }

        Memory = new GuestMemory([.. _regions.Select(r => new GuestRegion(r.Guest, UserAddressOf(r.Guest), r.Region))]);
    }

    /// <summary>The table for the device.</summary>
    public GuestMemory Memory { get; }

    /// <summary>The pretended front-end's address of a guest address.</summary>
    public static ulong UserAddressOf(ulong guest) => guest + 0x7F00_0000_0000;

    /// <summary>The host address of a guest range that lies in one region.</summary>
    public byte* At(ulong guest, ulong length = 1)
    {
        foreach ((ulong start, MappedRegion region) in _regions)
        {
            if (guest - start < region.SizeBytes && region.SizeBytes - (guest - start) >= length)
            {
                return region.Address + (guest - start);
            }
        }

        throw new ArgumentException($"The test has no memory at {guest:x} for {length} bytes.");
    }

    /// <summary>Copies into guest memory, over regions' borders too.</summary>
    public void Write(ulong guest, ReadOnlySpan<byte> data)
    {
        while (!data.IsEmpty)
        {
            int part = PartLength(guest, data.Length);
            data[..part].CopyTo(new Span<byte>(At(guest), part));
            guest += (ulong)part;
            data = data[part..];
        }
    }

    /// <summary>Sets a range to one value, over regions' borders too.</summary>
    public void Fill(ulong guest, int length, byte value)
    {
        while (length != 0)
        {
            int part = PartLength(guest, length);
            new Span<byte>(At(guest), part).Fill(value);
            guest += (ulong)part;
            length -= part;
        }
    }

    /// <summary>Copies out of guest memory, over regions' borders too.</summary>
    public void Read(ulong guest, Span<byte> data)
    {
        while (!data.IsEmpty)
        {
            int part = PartLength(guest, data.Length);
            new ReadOnlySpan<byte>(At(guest), part).CopyTo(data);
            guest += (ulong)part;
            data = data[part..];
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Memory.Dispose();
        _regions.ForEach(r => r.Region.Dispose());
    }

    private int PartLength(ulong guest, int length)
    {
        foreach ((ulong start, MappedRegion region) in _regions)
        {
            if (guest - start < region.SizeBytes)
            {
                return (int)Math.Min((ulong)length, region.SizeBytes - (guest - start));
            }
        }

        throw new ArgumentException($"The test has no memory at {guest:x}.");
    }
}
