// Blocks that say who wrote them: what a block may hold after concurrent writes, failures and crashes can be decided from its
// content.

using System.Buffers.Binary;
using Polyblk.Core.Block;
using Polyblk.Fakes;

namespace Polyblk.Raid.Tests.Arrays;

/// <summary>The history of writes to every 512-byte block of a volume, and the judgement of what is read back.</summary>
internal sealed class StampedBlocks(long sizeBytes, int seed)
{
    public const int BlockBytes = 512;

    private readonly Lock _lock = new();
    private readonly List<Write>[] _history = [.. Enumerable.Range(0, (int)(sizeBytes / BlockBytes)).Select(_ => new List<Write>())];
    private long _clock;
    private int _nextId;

    /// <summary>A write: when it was submitted, acknowledged, and made durable, on a logical clock; 0 is not yet.</summary>
    public sealed class Write
    {
        public int Id;
        public long Started, Acknowledged, Durable;
    }

    /// <summary>Begins a write and makes its content: every block names the write, itself, and is filled from both.</summary>
    public (Write Write, byte[] Data) Begin(long offset, int length)
    {
        var data = new byte[length];
        lock (_lock)
        {
            var write = new Write { Id = ++_nextId, Started = ++_clock };
            for (int at = 0; at < length; at += BlockBytes)
            {
                long block = (offset + at) / BlockBytes;
                Fill(data.AsSpan(at, BlockBytes), write.Id, block);
                _history[block].Add(write);
            }

            return (write, data);
        }
    }

    /// <summary>The write was answered.</summary>
    public void End(Write write, int status, bool durable)
    {
        lock (_lock)
        {
            if (status == 0)
            {
                write.Acknowledged = ++_clock;
                write.Durable = durable ? _clock : 0;
            }
        }
    }

    /// <summary>Now, for <see cref="MakeDurable"/>.</summary>
    public long Now()
    {
        lock (_lock)
        {
            return ++_clock;
        }
    }

    /// <summary>A flush that was submitted at that time succeeded: what had been acknowledged before is durable.</summary>
    public void MakeDurable(long flushStarted)
    {
        lock (_lock)
        {
            long now = ++_clock;
            foreach (Write write in _history.SelectMany(h => h))
            {
                if (write.Acknowledged != 0 && write.Acknowledged < flushStarted && write.Durable == 0)
                {
                    write.Durable = now;
                }
            }
        }
    }

    /// <summary>
    /// Checks what was read: every block must be whole, and from a write that no other one has certainly replaced. After a crash
    /// only durable writes certainly replace others. A block to which a write was in flight during the read is not judged: memory
    /// drives promise no atomic blocks.
    /// </summary>
    public void Check(long offset, ReadOnlySpan<byte> data, bool afterCrash, long readStarted = long.MaxValue)
    {
        Span<byte> expected = stackalloc byte[BlockBytes];
        lock (_lock)
        {
            for (int at = 0; at < data.Length; at += BlockBytes)
            {
                long block = (offset + at) / BlockBytes;
                if (!afterCrash && _history[block].Exists(w => w.Acknowledged == 0 || w.Acknowledged > readStarted))
                {
                    continue;
                }

                ReadOnlySpan<byte> found = data.Slice(at, BlockBytes);
                int id = BinaryPrimitives.ReadInt32LittleEndian(found);
                Write? write = _history[block].Find(w => w.Id == id);
                if (id != 0)
                {
                    Fill(expected, id, block);
                }
                else
                {
                    expected.Clear();
                }

                Assert.True(found.SequenceEqual(expected), $"seed {seed}: block {block} is torn or foreign (it names write {id})");
                Assert.True(id == 0 || write is not null, $"seed {seed}: block {block} holds write {id}, which never went there");
                foreach (Write other in _history[block])
                {
                    long settled = afterCrash ? other.Durable : other.Acknowledged;
                    bool replaces = settled != 0 && settled < readStarted
                        && (write is null || (other != write && write.Acknowledged != 0 && write.Acknowledged < other.Started));
                    Assert.False(replaces, $"seed {seed}: block {block} holds write {id} (acknowledged {write?.Acknowledged}), but write {other.Id} "
                        + $"(started {other.Started}, acknowledged {other.Acknowledged}, durable {other.Durable}) came after it");
                }
            }
        }
    }

    /// <summary>
    /// Writers that run until told to stop: random ranges, reads in between that are judged at once, flushes, FUA.
    /// </summary>
    public async Task RunWriterAsync(RequestDriver driver, int writer, Func<bool> running, int spanBytes, bool expectErrors)
    {
        var random = new Random(seed + (writer * 7919));
        while (running())
        {
            int length = (random.Next(random.Next(3) == 0 ? spanBytes / BlockBytes : 16) + 1) * BlockBytes;
            long offset = random.NextInt64(((sizeBytes - length) / BlockBytes) + 1) * BlockBytes;
            var layout = new BufferLayout(SegmentBytes: random.Next(2) == 0 ? 0 : 8192);
            int status;
            switch (random.Next(10))
            {
                case < 6:
                    bool fua = random.Next(6) == 0;
                    (Write write, byte[] data) = Begin(offset, length);
                    status = await driver.WriteAsync(offset, data, fua ? BlockFlags.Fua : BlockFlags.None, layout);
                    End(write, status, fua);
                    break;
                case < 9:
                    long started = Now();
                    (status, byte[] read) = await driver.ReadAsync(offset, length, layout);
                    if (status == 0)
                    {
                        Check(offset, read, afterCrash: false, started);
                    }

                    break;
                default:
                    started = Now();
                    status = await driver.FlushAsync();
                    if (status == 0)
                    {
                        MakeDurable(started);
                    }

                    break;
            }

            Assert.True(status == 0 || expectErrors, $"seed {seed}, writer {writer}: status {status}");
            if (status != 0)
            {
                return;
            }
        }
    }

    private static void Fill(Span<byte> block, int id, long number)
    {
        block.Fill((byte)(id * 31));
        BinaryPrimitives.WriteInt32LittleEndian(block, id);
        BinaryPrimitives.WriteInt64LittleEndian(block[4..], number);
        BinaryPrimitives.WriteInt32LittleEndian(block[^4..], id ^ (int)number);
    }
}
