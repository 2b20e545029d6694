using System.Numerics;
using Polyblk.Raid.Journal;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Parity;
using Polyblk.Simulation.Tests;

namespace Polyblk.Raid.Tests.Journal;

/// <summary>
/// The arithmetic of a replay, against rows that were cut off in every way: each block that was being written is there as the old
/// or as the new one, or half of each, and every set of members that the level can lose is lost.
/// </summary>
public sealed class RowImageTests
{
    private const int RowBytes = 4096;

    [Theory]
    [InlineData(RaidLevel.Raid5, 3)]
    [InlineData(RaidLevel.Raid5, 5)]
    [InlineData(RaidLevel.Raid6, 4)]
    [InlineData(RaidLevel.Raid6, 6)]
    [InlineData(RaidLevel.Raid73, 6)]
    [InlineData(RaidLevel.Raid75, 8)]
    public void What_was_not_written_is_as_it_was_and_parities_fit(RaidLevel level, int members)
    {
        Assert.True(RaidGeometry.TryCreate(level, RowBytes, [.. Enumerable.Repeat(4L << 20, members)], out RaidGeometry? geometry, out _));
        var random = new Random(members);
        for (int round = 0; round < 60; round++)
        {
            using var row = new TornRow(geometry!, random);
            for (ulong lost = 0; lost < 1UL << members; lost++)
            {
                if (BitOperations.PopCount(lost) <= geometry!.ParityCount)
                {
                    row.AssertMended(lost, $"{level} of {members}, round {round}, lost {lost:b}");
                }
            }
        }
    }

    [Theory]
    [InlineData(RaidLevel.Raid5)]
    [InlineData(RaidLevel.Raid6)]
    [InlineData(RaidLevel.Raid78)]
    public void The_widest_row_is_mended_as_any(RaidLevel level)
    {
        const int Members = 64;
        Assert.True(RaidGeometry.TryCreate(level, RowBytes, [.. Enumerable.Repeat(4L << 20, Members)], out RaidGeometry? geometry, out _));
        var random = new Random(1);
        using var row = new TornRow(geometry!, random);
        for (int i = 0; i < Members; i++)
        {
            row.AssertMended(1UL << i, $"lost {i}");
            if (level == RaidLevel.Raid78)
            {
                ulong many = Enumerable.Range(0, 7).Aggregate(1UL << i, (all, _) => all | (1UL << random.Next(Members)));
                row.AssertMended(many, $"lost {many:b}");
            }

            if (level != RaidLevel.Raid5)
            {
                ulong two = (1UL << i) | (1UL << random.Next(Members));
                row.AssertMended(two, $"lost {two:b}");
                row.AssertMended((1UL << i) | (1UL << geometry!.DataCount), $"lost {i} and P");
            }
        }

        Assert.False(row.TryMend(~row.Written & ((1UL << geometry!.DataCount) - 1) & (ulong)-(long)(~row.Written), partials: 0, out _));
    }

    [Fact]
    public void Too_much_lost_is_said()
    {
        Assert.True(RaidGeometry.TryCreate(RaidLevel.Raid5, RowBytes, [4 << 20, 4 << 20, 4 << 20, 4 << 20], out RaidGeometry? geometry, out _));
        var random = new Random(1);
        using TornRow row =
            Enumerable.Range(0, 100).Select(_ => new TornRow(geometry!, random)).First(r => (r.Written & 0b0111) != 0b0111);
        Assert.False(row.TryMend(0b0111, partials: 1, out _));
        Assert.False(row.TryMend(~row.Written & 0b0111, partials: 0, out _));
    }

    /// <summary>A row before and after a write, and as a crash has left it.</summary>
    private sealed class TornRow : IDisposable
    {
        /// <summary>The products of every two numbers.</summary>
        private static readonly byte[][] s_products =
        [
            .. Enumerable.Range(0, 256).Select(a =>
                (byte[])[.. Enumerable.Range(0, 256).Select(b => GaloisField.Multiply((byte)a, (byte)b))]),
        ];

        private readonly RaidGeometry _geometry;
        private readonly byte[][] _before, _found;
        private readonly byte[][] _partials;
        private readonly JournalRecord _record;
        private readonly RowImage _image;

        public TornRow(RaidGeometry geometry, Random random)
        {
            _geometry = geometry;
            _image = new RowImage(geometry, RowBytes);
            _before = WithParities([.. Enumerable.Range(0, geometry.DataCount).Select(_ => Noise(random))]);
            byte[][] data = [.. _before.Take(geometry.DataCount).Select(b => b.ToArray())];
            byte[][] kept = [.. data.Select(b => b.ToArray())];
            var pieces = new List<JournalPiece>();
            for (int block = 0; block < geometry.DataCount; block++)
            {
                if (random.Next(2) == 0 && !(block == geometry.DataCount - 1 && pieces.Count == 0))
                {
                    continue;
                }

                int from = 512 * random.Next(0, 8), to = from + (512 * random.Next(1, 9 - (from / 512)));
                pieces.Add(new JournalPiece(block, from, to));
                random.NextBytes(data[block].AsSpan(from, to - from));
                kept[block].AsSpan(from, to - from).Clear();
            }

            byte[][] after = WithParities(data);
            _partials = WithParities(kept)[geometry.DataCount..];
            _found = [.. _before.Select((block, i) => Torn(block, after[i], random))];
            _record = new JournalRecord
            {
                ArrayUuid = Guid.Empty, Generation = 1, Writer = 1, Transaction = 1, Oldest = 1, Parity = 0,
                Parities = (1u << geometry.ParityCount) - 1, Row = 0, ParityCrc = 0,
                From = pieces.Min(p => p.From), To = pieces.Max(p => p.To), Pieces = [.. pieces],
            };
        }

        /// <summary>Blocks of which something was written.</summary>
        public ulong Written => _record.Pieces.Aggregate(0UL, (all, p) => all | (1UL << p.Block));

        public bool TryMend(ulong lost, uint partials, out RowImage image)
        {
            image = _image;
            int from = _record.From, to = _record.To;
            for (int block = 0; block < _geometry.MemberCount; block++)
            {
                if (((lost >> block) & 1) == 0)
                {
                    _found[block].AsMemory(from, to - from).CopyTo(image.Block(block, from, to));
                }
            }

            for (int parity = 0; parity < _geometry.ParityCount; parity++)
            {
                if (((partials >> parity) & 1) != 0)
                {
                    _partials[parity].AsMemory(from, to - from).CopyTo(image.Partial(parity, from, to));
                }
            }

            return image.TryMend(_record, lost, partials);
        }

        public void Dispose() => _image.Dispose();

        public void AssertMended(ulong lost, string because)
        {
            uint partials = (uint)(~lost >> _geometry.DataCount) & ((1u << _geometry.ParityCount) - 1);
            Assert.True(TryMend(lost, partials, out RowImage image), because);
            int from = _record.From, to = _record.To;
            byte[][] data = [.. Enumerable.Range(0, _geometry.DataCount).Select(i => Whole(image.Block(i, from, to)))];
            byte[][] all = WithParities(data, from, to);
            for (int block = 0; block < _geometry.DataCount; block++)
            {
                for (int at = from; at < to; at += 512)
                {
                    bool isWritten = _record.Pieces.Any(p => p.Block == block && p.From <= at && at < p.To);
                    bool isAlone = _record.Pieces.Count(p => p.From <= at && at < p.To) == 1;
                    ReadOnlySpan<byte> made = data[block].AsSpan(at, 512);
                    bool isHere = ((lost >> block) & 1) == 0;
                    bool isRight = !isWritten ? made.SequenceEqual(_before[block].AsSpan(at, 512))
                        : isHere ? made.SequenceEqual(_found[block].AsSpan(at, 512))
                        : !isAlone || IsOldOrNew(block, at, made, lost);
                    Assert.True(isRight, $"block {block} at {at}: {because}");
                }
            }

            for (int parity = 0; parity < _geometry.ParityCount; parity++)
            {
                Assert.True(all[_geometry.DataCount + parity].AsSpan(from, to - from).SequenceEqual(image.Made(parity, from, to).Span), because);
            }
        }

        /// <summary>
        /// Where it alone was written, the first parity that is left says what it is: as that was found, so is the block.
        /// </summary>
        private bool IsOldOrNew(int block, int at, ReadOnlySpan<byte> made, ulong lost)
        {
            int parity = _geometry.DataCount + BitOperations.TrailingZeroCount(~lost >> _geometry.DataCount);
            byte[][] with = [.. _before.Take(_geometry.DataCount)];
            with[block] = [.. with[block]];
            made.CopyTo(with[block].AsSpan(at, 512));
            return WithParities(with, at, at + 512)[parity].AsSpan(at, 512).SequenceEqual(_found[parity].AsSpan(at, 512));
        }

        private byte[] Whole(Memory<byte> columns)
        {
            var whole = new byte[RowBytes];
            columns.CopyTo(whole.AsMemory(_record.From));
            return whole;
        }

        /// <summary>Data, then the parities of it, byte by byte, in some columns.</summary>
        private byte[][] WithParities(byte[][] data, int from = 0, int to = RowBytes)
        {
            byte[][] parities = [.. Enumerable.Range(0, _geometry.ParityCount).Select(_ => new byte[RowBytes])];
            for (int i = data.Length - 1; i >= 0; i--)
            {
                ReadOnlySpan<byte> block = data[i].AsSpan(from, to - from);
                for (int parity = 0; parity < parities.Length; parity++)
                {
                    Span<byte> made = parities[parity].AsSpan(from, to - from);
                    byte[]? products = parity < 2 ? null : s_products[MemberCheck.Coefficient(parity, i)];
                    for (int at = 0; at < made.Length; at++)
                    {
                        made[at] = (byte)(parity switch
                        {
                            0 => made[at] ^ block[at],
                            1 => GaloisField.Double(made[at]) ^ block[at],
                            _ => made[at] ^ products![block[at]],
                        });
                    }
                }
            }

            return [.. data, .. parities];
        }

        private static byte[] Noise(Random random)
        {
            var data = new byte[RowBytes];
            random.NextBytes(data);
            return data;
        }

        /// <summary>Sector by sector the one or the other, or all of one.</summary>
        private static byte[] Torn(byte[] before, byte[] after, Random random)
        {
            byte[] found = [.. before];
            int kind = random.Next(3);
            for (int at = 0; at < RowBytes; at += 512)
            {
                if (kind == 1 || (kind == 2 && random.Next(2) == 0))
                {
                    after.AsSpan(at, 512).CopyTo(found.AsSpan(at));
                }
            }

            return found;
        }
    }
}
