// The driver's steps of a ring program. Also run in the middle of a turn, when a request reaches the drive.

using Polyblk.Fuzz.Guest;
using Polyblk.Virtio;
using static Polyblk.Virtio.RingLayout;
using static Polyblk.Virtio.VirtioBlkProtocol;

namespace Polyblk.Fuzz.Targets;

internal sealed unsafe partial class RingProgram
{
    private const int HeaderBytes = 16;
    private const int Slots = 16;
    private const ulong TablesOffset = 0x800;
    private const int MaxChain = 40;

    private static readonly uint[] s_types =
        [
            VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_DISCARD,
            VIRTIO_BLK_T_WRITE_ZEROES, 99,
        ];

    private static readonly ulong[] s_sectors =
        [127, 128, 129, 1UL << 53, 1UL << 54, 1UL << 55, long.MaxValue / 512, ulong.MaxValue / 512, ulong.MaxValue];

    private static readonly uint[] s_lengths =
        [
            0, 1, 15, 16, 17, 20, 511, 512, 513, 1024, 2048, 4095, 4096, 8192, 12288, 12289, 65536, 1 << 20, int.MaxValue,
            1U << 31, uint.MaxValue,
        ];

    private int _slot;

    private enum Shape : byte
    {
        Indirect = 1,
        CutHeader = 2,
        StatusFirst = 4,
        NoStatus = 8,
        EmptyBuffers = 16,
        CutData = 32,
        InOnePiece = 64,
        NotPublished = 128,
    }

    private void DriverStep(int operation, FuzzBytes bytes)
    {
        switch (operation)
        {
            case >= OpRequest and < OpChain: AddRequest(bytes); break;
            case OpChain or OpChain + 1: AddChain(bytes); break;
            case OpPoke or OpPoke + 1: _ring.Poke(bytes.Byte(), bytes.Byte(), Value(bytes)); break;
            case OpPokeIndex: _ring.PokeIndex(bytes.Word()); break;
            case OpPokeEvent: _ring.PokeEvent(bytes.Word(), (ushort)(bytes.Byte() & 3)); break;
            case OpWrite or OpWrite + 1: WriteAnywhere(bytes); break;
            case OpPublish: _ring.Publish(); break;
        }
    }

    /// <summary>A request, nearly right: type, sector, shape, id, and where its data is.</summary>
    private void AddRequest(FuzzBytes bytes)
    {
        byte type = bytes.Byte();
        byte sector = bytes.Byte();
        var shape = (Shape)bytes.Byte();
        byte id = bytes.Byte();
        ulong data = Address(bytes);
        uint length = Length(bytes);
        int slot = _slot++ % Slots;
        ulong header = GuardedSpace.DataAddress + ((ulong)slot * 64);
        ulong status = GuardedSpace.FarAddress + (ulong)slot;
        uint kind = type < 0xF0 ? s_types[type % s_types.Length] : type;
        _space.Write(
            header,
            new virtio_blk_outhdr { type = kind, sector = sector < 0xF0 ? sector : s_sectors[(sector & 15) % s_sectors.Length] });
        bool writes = kind is VIRTIO_BLK_T_IN or VIRTIO_BLK_T_GET_ID;
        if (kind is VIRTIO_BLK_T_DISCARD or VIRTIO_BLK_T_WRITE_ZEROES)
        {
            data = header + HeaderBytes;
            length = (uint)(type >= 7 * 16 ? length : 16);
            _space.Write(
                data,
                new virtio_blk_discard_write_zeroes { sector = sector, num_sectors = (uint)bytes.Byte(), flags = bytes.Byte() });
        }

        var chain = new List<RawBuffer>();
        AddHeader(chain, header, shape, kind);
        if ((shape & Shape.StatusFirst) != 0)
        {
            chain.Insert(0, new RawBuffer(status, 1, VIRTQ_DESC_F_WRITE));
        }

        if (kind is not VIRTIO_BLK_T_FLUSH)
        {
            AddData(chain, data, length, writes ? VIRTQ_DESC_F_WRITE : (ushort)0, shape);
        }

        if ((shape & (Shape.NoStatus | Shape.StatusFirst)) == 0)
        {
            chain.Add(new RawBuffer(status, 1, VIRTQ_DESC_F_WRITE));
        }

        Add(chain, (shape & Shape.Indirect) != 0 ? GuardedSpace.DataAddress + TablesOffset + ((ulong)slot * 128) : 0, id);
        Show((shape & Shape.NotPublished) == 0);
    }

    private static void AddHeader(List<RawBuffer> chain, ulong header, Shape shape, uint kind)
    {
        if ((shape & Shape.InOnePiece) != 0 && kind is VIRTIO_BLK_T_DISCARD or VIRTIO_BLK_T_WRITE_ZEROES)
        {
            chain.Add(new RawBuffer(header, HeaderBytes * 2, 0));
            return;
        }

        uint first = (shape & Shape.CutHeader) != 0 ? 5U : HeaderBytes;
        chain.Add(new RawBuffer(header, first, 0));
        if (first != HeaderBytes)
        {
            chain.Add(new RawBuffer(header + first, HeaderBytes - first, 0));
        }
    }

    private static void AddData(List<RawBuffer> chain, ulong address, uint length, ushort flags, Shape shape)
    {
        if ((shape & Shape.EmptyBuffers) != 0)
        {
            chain.Add(new RawBuffer(address, 0, flags));
        }

        uint first = (shape & Shape.CutData) != 0 ? length / 3 : length;
        chain.Add(new RawBuffer(address, first, flags));
        if (first != length)
        {
            chain.Add(new RawBuffer(address + first, length - first, flags));
        }
    }

    /// <summary>Any chain.</summary>
    private void AddChain(FuzzBytes bytes)
    {
        byte shape = bytes.Byte();
        byte id = bytes.Byte();
        var chain = new List<RawBuffer>();
        int count = 1 + (bytes.Byte() % MaxChain);
        for (int i = 0; i < count; i++)
        {
            ulong address = Address(bytes);
            uint length = Length(bytes);
            chain.Add(new RawBuffer(address, length, (ushort)(bytes.Byte() & (VIRTQ_DESC_F_WRITE | VIRTQ_DESC_F_INDIRECT))));
        }

        Add(chain, (shape & (byte)Shape.Indirect) != 0 ? Address(bytes) : 0, id);
        Show((shape & (byte)Shape.NotPublished) == 0);
    }

    private void Add(List<RawBuffer> chain, ulong table, byte id)
    {
        foreach (RawBuffer buffer in chain)
        {
            // A device that may write the ring is not to blame for what the ring then says.
            if (ReachesRing(buffer.Address, buffer.Length))
            {
                _ring.Distrust();
            }
        }

        if (table != 0 && ReachesRing(table, (ulong)chain.Count * DescriptorBytes))
        {
            _ring.Distrust();
        }

        _ring.Add([.. chain], table, id);
    }

    private void Show(bool now)
    {
        if (now && _publishesAtOnce)
        {
            _ring.Publish();
        }
    }

    private void WriteAnywhere(FuzzBytes bytes)
    {
        ulong address = Address(bytes);
        byte[] data = bytes.Slice(1 + (bytes.Byte() & 15));
        if (ReachesRing(address, (ulong)data.Length))
        {
            _ring.Distrust();
        }

        _space.Write(address, data);
    }

    private static bool ReachesRing(ulong address, ulong length) =>
        address < GuardedSpace.DataAddress && address + length > GuardedSpace.TableAddress;

    /// <summary>A place: which memory, and where in it; large offsets are counted from its end.</summary>
    private static ulong Address(FuzzBytes bytes)
    {
        byte where = bytes.Byte();
        ushort offset = bytes.Word();
        return (where & 15) switch
        {
            < 5 => GuardedSpace.DataAddress + 0x1000 + (offset & 0xFFFUL),
            5 or 6 => GuardedSpace.NextAddress - 0x100 + (offset & 0x1FFUL),
            7 => GuardedSpace.NextAddress + (offset & 0xFFFUL),
            8 or 9 => GuardedSpace.FarAddress + (offset & 0xFFFUL),
            10 => GuardedSpace.ReadOnlyAddress + (offset & 0xFFFUL),
            11 => GuardedSpace.TableAddress + (offset & 0xFFFUL),
            12 => GuardedSpace.RingAddress + (offset & 0xFFFUL),
            13 => GuardedSpace.FarAddress + 0x1000 - (offset & 0xFFUL),
            14 => ulong.MaxValue - offset,
            _ => (ulong)offset << 16,
        };
    }

    private static uint Length(FuzzBytes bytes)
    {
        byte choice = bytes.Byte();
        return choice < 0x80 ? s_lengths[choice % s_lengths.Length] : (uint)(choice & 0x7F) * 64;
    }

    private static ulong Value(FuzzBytes bytes) => (bytes.Byte() & 7) switch
    {
        0 => bytes.Byte(),
        1 => bytes.Word(),
        2 => bytes.Double(),
        3 => Length(bytes),
        4 => 0,
        5 => ulong.MaxValue,
        _ => Address(bytes),
    };
}
