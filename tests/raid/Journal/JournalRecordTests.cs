using Polyblk.Raid.Journal;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Tests.Journal;

public sealed class JournalRecordTests
{
    private const int RowBytes = 64 << 10;

    private static readonly Guid s_array = Guid.Parse("6f1f0d2c-0000-4000-8000-000000000001");

    [Fact]
    public void What_is_written_is_read()
    {
        byte[] header = Make();
        JournalRecord record = Read(header)!;
        Assert.Equal((7u, 8UL, 5UL, 1, 3u, 99L, 512, 8192), (record.Writer, record.Transaction, record.Oldest, record.Parity, record.Parities, record.Row, record.From, record.To));
        Assert.Equal([new JournalPiece(0, 512, 1024), new JournalPiece(62, 4096, 8192)], record.Pieces);
        Assert.False(record.IsVoid);
    }

    [Fact]
    public void A_record_of_another_array_or_run_is_none()
    {
        byte[] header = Make();
        Assert.Null(JournalRecord.TryRead(header, Guid.NewGuid(), 3, RowBytes, 63, 2));
        Assert.Null(JournalRecord.TryRead(header, s_array, 4, RowBytes, 63, 2));
    }

    [Fact]
    public void A_record_that_makes_no_sense_here_is_none()
    {
        byte[] header = Make();
        Assert.Null(JournalRecord.TryRead(header, s_array, 3, 4096, 63, 2));
        Assert.Null(JournalRecord.TryRead(header, s_array, 3, RowBytes, 62, 2));
    }

    [Fact]
    public void No_single_byte_can_change()
    {
        byte[] header = Make();
        for (int i = 0; i < JournalRecord.UsedBytes; i++)
        {
            header[i] ^= 0x40;
            Assert.Null(Read(header));
            header[i] ^= 0x40;
        }

        Assert.NotNull(Read(header));
    }

    /// <summary>Whatever a drive gives, with a checksum that is right.</summary>
    [Fact]
    public void Any_bytes_are_taken_or_refused()
    {
        var random = new Random(1);
        for (int i = 0; i < 20_000; i++)
        {
            byte[] header = Make();
            for (int changes = random.Next(1, 9); changes > 0; changes--)
            {
                header[random.Next(56, 200)] = (byte)random.Next();
            }

            JournalRecord.Seal(header, header[60], new byte[512]);
            if (Read(header) is { } record)
            {
                Assert.InRange(record.To, record.From, RowBytes);
                Assert.InRange(record.From, 0, RowBytes);
                Assert.All(record.Pieces, p => Assert.True(p.Block is >= 0 and < 63 && p.From >= record.From && p.To <= record.To && p.From <= p.To));
            }
        }
    }

    [Fact]
    public void Slots_lie_beside_each_other_between_the_superblocks_and_the_data()
    {
        Assert.True(RaidGeometry.TryCreate(RaidLevel.Raid6, 64 << 10, [64 << 20, 64 << 20, 64 << 20, 64 << 20], out RaidGeometry? geometry, out _));
        JournalLayout layout = JournalLayout.Of(geometry!)!;
        long[] offsets = [.. from parity in Enumerable.Range(0, 2) from slot in Enumerable.Range(0, layout.SlotCount) select layout.OffsetOf(parity, slot)];
        Assert.Equal(JournalLayout.AreaOffset, offsets[0]);
        Assert.All(offsets.Zip(offsets.Skip(1)), pair => Assert.Equal(JournalLayout.HeaderBytes + RowBytes, pair.Second - pair.First));
        Assert.InRange(offsets[^1] + JournalLayout.HeaderBytes + RowBytes, 0, geometry!.DataOffset);
        Assert.Equal(offsets[^1] + JournalLayout.HeaderBytes + RowBytes, JournalLayout.AreaOffset + layout.AreaBytes);
        Assert.Equal(layout.SlotCount, Enumerable.Range(0, 1000).Select(row => layout.SlotOf(row)).Distinct().Count());
    }

    [Theory]
    [InlineData(1 << 20, 1 << 20)]
    [InlineData((64 << 20) - 1, 1 << 20)]
    [InlineData(100 << 20, 3 << 20)]
    [InlineData(1L << 44, 8 << 20)]
    public void The_more_a_drive_has_the_more_slots_there_are(long driveBytes, long dataOffset) =>
        Assert.Equal(dataOffset, JournalLayout.DataOffsetFor(driveBytes));

    [Fact]
    public void The_oldest_unfinished_transaction_is_known()
    {
        Assert.True(RaidGeometry.TryCreate(RaidLevel.Raid5, 4096, [4 << 20, 4 << 20, 4 << 20], out RaidGeometry? geometry, out _));
        var writer = new JournalWriter(new WriteJournal(JournalLayout.Of(geometry!)!, geometry!, s_array, isOn: true));
        JournalTransaction a = new(), b = new(), c = new();
        writer.Begin(a);
        writer.Begin(b);
        writer.Begin(c);
        Assert.Equal(1UL, writer.Oldest);
        writer.End(b);
        Assert.Equal(1UL, writer.Oldest);
        writer.End(a);
        Assert.Equal(3UL, writer.Oldest);
        writer.Begin(a);
        writer.End(c);
        Assert.Equal(4UL, writer.Oldest);
        writer.End(a);
        Assert.Equal(5UL, writer.Oldest);
    }

    private static JournalRecord? Read(byte[] header) => JournalRecord.TryRead(header, s_array, 3, RowBytes, 63, 2);

    private static byte[] Make()
    {
        var header = new byte[JournalLayout.HeaderBytes];
        JournalRecord.Begin(header, s_array, generation: 3, writer: 7, transaction: 8, oldest: 5, parities: 3, row: 99, from: 512, to: 8192);
        JournalRecord.AddPiece(header, 0, 512, 1024);
        JournalRecord.AddPiece(header, 62, 4096, 8192);
        JournalRecord.Seal(header, parity: 1, new byte[512]);
        return header;
    }
}
