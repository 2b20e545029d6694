// A record of the journal: what is needed to make the parities of a row fit again, whatever part of a write reached the members.
//
// Theory of operation. Before a row is written in part, the parity of what is not written is recorded: in each column the sum of
// the data blocks that the write leaves alone (of P their XOR, of the others with their coefficients). With that, and the blocks
// that were written as they are found, the parities are right again; and a block that is lost and was not written is made from it
// without looking at any that was. This is what Linux md calls a partial parity log, for every parity: a row that lacks no more
// blocks than it has parities has as many partial parities left as lost blocks that were not written, and any so many equations
// of the code have a solution (StripeCode).
//
// Little-endian:
//    0 magic[8]           8 crc32c u32 (of bytes 0..1023 with this field 0)    12 checksum u32 of the partial parity (Crc32C.ComputeInterleaved)
//   16 array UUID[16]    32 generation u64       40 transaction u64            48 oldest unfinished transaction u64
//   56 writer u32        60 parity u32 (0: P, 1: Q, up to 7)                   64 row i64
//   72 from u32          76 to u32 (columns)     80 parities u32 (bit j: it is recorded for parity j)
//   84 piece count u32   88 zero[8]
//   96 pieces: { data block u32, from u32, to u32 }, at most 63
// 4096 the partial parity of columns [from, to)
//
// A writer is a queue of a run; its transactions count up. All that are older than the oldest unfinished one have reached the
// members: their records have nothing to say any more. A generation is a run: records of another one are void.
//
// A record without pieces makes the one void that was in its slot: what comes after it writes the row without one.

using System.Buffers.Binary;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Journal;

/// <summary>Columns [From, To) of a data block that are written.</summary>
internal readonly record struct JournalPiece(int Block, int From, int To);

/// <summary>See the top of the file.</summary>
internal sealed record JournalRecord
{
    /// <summary>The bytes of the header that say something.</summary>
    public const int UsedBytes = 1024;

    private const int CrcAt = 8, PiecesAt = 96, PieceBytes = 12, MaxPieces = 63;

    private static ReadOnlySpan<byte> Magic => "POLYJRNL"u8;

    /// <summary>The array.</summary>
    public required Guid ArrayUuid { get; init; }

    /// <summary>The run.</summary>
    public required ulong Generation { get; init; }

    /// <summary>The queue.</summary>
    public required uint Writer { get; init; }

    /// <summary>Its number among those of the writer, from 1.</summary>
    public required ulong Transaction { get; init; }

    /// <summary>All transactions of the writer before this one are done.</summary>
    public required ulong Oldest { get; init; }

    /// <summary>Which parity this is the record of.</summary>
    public required int Parity { get; init; }

    /// <summary>All parities for which the transaction is recorded, one bit each.</summary>
    public required uint Parities { get; init; }

    /// <summary>The row.</summary>
    public required long Row { get; init; }

    /// <summary>The first column.</summary>
    public required int From { get; init; }

    /// <summary>The end of the columns.</summary>
    public required int To { get; init; }

    /// <summary>The checksum of the partial parity.</summary>
    public required uint ParityCrc { get; init; }

    /// <summary>What is written; empty in a record that makes another one void.</summary>
    public required JournalPiece[] Pieces { get; init; }

    /// <summary>Whether it only makes another one void.</summary>
    public bool IsVoid => Pieces.Length == 0;

    /// <summary>Whether two records are of one transaction.</summary>
    public bool IsOfSame(JournalRecord other) => (Writer, Transaction, Row) == (other.Writer, other.Transaction, other.Row);

    /// <summary>Begins a header; <see cref="AddPiece"/> and <see cref="Seal"/> follow. Allocates nothing.</summary>
    public static void Begin(
        Span<byte> header, Guid array, ulong generation, uint writer, ulong transaction, ulong oldest, uint parities, long row, int from, int to)
    {
        header = header[..UsedBytes];
        header.Clear();
        Magic.CopyTo(header);
        array.TryWriteBytes(header[16..], bigEndian: true, out _);
        BinaryPrimitives.WriteUInt64LittleEndian(header[32..], generation);
        BinaryPrimitives.WriteUInt64LittleEndian(header[40..], transaction);
        BinaryPrimitives.WriteUInt64LittleEndian(header[48..], oldest);
        BinaryPrimitives.WriteUInt32LittleEndian(header[56..], writer);
        BinaryPrimitives.WriteInt64LittleEndian(header[64..], row);
        BinaryPrimitives.WriteInt32LittleEndian(header[72..], from);
        BinaryPrimitives.WriteInt32LittleEndian(header[76..], to);
        BinaryPrimitives.WriteUInt32LittleEndian(header[80..], parities);
    }

    /// <summary>Adds a piece to a header.</summary>
    public static void AddPiece(Span<byte> header, int block, int from, int to)
    {
        uint count = BinaryPrimitives.ReadUInt32LittleEndian(header[84..]);
        Span<byte> piece = header.Slice(PiecesAt + ((int)count * PieceBytes), PieceBytes);
        BinaryPrimitives.WriteInt32LittleEndian(piece, block);
        BinaryPrimitives.WriteInt32LittleEndian(piece[4..], from);
        BinaryPrimitives.WriteInt32LittleEndian(piece[8..], to);
        BinaryPrimitives.WriteUInt32LittleEndian(header[84..], count + 1);
    }

    /// <summary>Ends a header: for which parity it is, and the checksums.</summary>
    public static void Seal(Span<byte> header, int parity, ReadOnlySpan<byte> partialParity)
    {
        header = header[..UsedBytes];
        BinaryPrimitives.WriteInt32LittleEndian(header[60..], parity);
        BinaryPrimitives.WriteUInt32LittleEndian(header[12..], Crc32C.ComputeInterleaved(partialParity));
        BinaryPrimitives.WriteUInt32LittleEndian(header[CrcAt..], 0);
        BinaryPrimitives.WriteUInt32LittleEndian(header[CrcAt..], Crc32C.Compute(header));
    }

    /// <summary>Reads a header. Any bytes are fine; null where there is no sound record of that run of the array.</summary>
    /// <param name="header">At least <see cref="UsedBytes"/> bytes.</param>
    /// <param name="array">The array.</param>
    /// <param name="generation">The run.</param>
    /// <param name="rowBytes">Bytes of a row on one member.</param>
    /// <param name="dataCount">Data blocks of a row.</param>
    /// <param name="parityCount">Parities of a row.</param>
    public static JournalRecord? TryRead(
        ReadOnlySpan<byte> header, Guid array, ulong generation, int rowBytes, int dataCount, int parityCount)
    {
        header = header[..UsedBytes];
        if (!header[..Magic.Length].SequenceEqual(Magic) || new Guid(header.Slice(16, 16), bigEndian: true) != array
            || BinaryPrimitives.ReadUInt64LittleEndian(header[32..]) != generation || !IsSealed(header))
        {
            return null;
        }

        uint count = BinaryPrimitives.ReadUInt32LittleEndian(header[84..]);
        if (count > MaxPieces)
        {
            return null;
        }

        var record = new JournalRecord
        {
            ArrayUuid = array,
            Generation = generation,
            Transaction = BinaryPrimitives.ReadUInt64LittleEndian(header[40..]),
            Oldest = BinaryPrimitives.ReadUInt64LittleEndian(header[48..]),
            Writer = BinaryPrimitives.ReadUInt32LittleEndian(header[56..]),
            Parity = BinaryPrimitives.ReadInt32LittleEndian(header[60..]),
            Row = BinaryPrimitives.ReadInt64LittleEndian(header[64..]),
            From = BinaryPrimitives.ReadInt32LittleEndian(header[72..]),
            To = BinaryPrimitives.ReadInt32LittleEndian(header[76..]),
            Parities = BinaryPrimitives.ReadUInt32LittleEndian(header[80..]),
            ParityCrc = BinaryPrimitives.ReadUInt32LittleEndian(header[12..]),
            Pieces = ReadPieces(header, (int)count),
        };
        return record.MakesSense(rowBytes, dataCount, parityCount) ? record : null;
    }

    private static bool IsSealed(ReadOnlySpan<byte> header)
    {
        uint state = Crc32C.Continue(uint.MaxValue, header[..CrcAt]);
        state = Crc32C.Continue(state, stackalloc byte[sizeof(uint)]);
        state = Crc32C.Continue(state, header[(CrcAt + sizeof(uint))..]);
        return ~state == BinaryPrimitives.ReadUInt32LittleEndian(header[CrcAt..]);
    }

    private static JournalPiece[] ReadPieces(ReadOnlySpan<byte> header, int count)
    {
        var pieces = new JournalPiece[count];
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<byte> piece = header.Slice(PiecesAt + (i * PieceBytes), PieceBytes);
            pieces[i] = new JournalPiece(
                BinaryPrimitives.ReadInt32LittleEndian(piece),
                BinaryPrimitives.ReadInt32LittleEndian(piece[4..]),
                BinaryPrimitives.ReadInt32LittleEndian(piece[8..]));
        }

        return pieces;
    }

    /// <summary>The checksum is right, but it may come from anywhere.</summary>
    private bool MakesSense(int rowBytes, int dataCount, int parityCount) =>
        Row >= 0 && Parity >= 0 && Parity < parityCount && ((Parities >> Parity) & 1) != 0 && Parities < 1u << parityCount
        && From >= 0 && From <= To && To <= rowBytes
        && Array.TrueForAll(Pieces, p => p.Block >= 0 && p.Block < dataCount && p.From >= From && p.From <= p.To && p.To <= To);
}
