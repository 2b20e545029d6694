// Writes to one volume through each of its doors and reads through the others: SEED NAME=PATH NAME=PATH ...
//
// In turns: a write of any size through one door is read through every other one, at once. Together: every door has each n-th block of the
// same few stripes and writes to its blocks again and again while the others do; then each door must see the last write of all.

using System.Buffers.Binary;
using System.Globalization;
using Polyblk.CoherenceClient;

const int BlockBytes = 4096;
const int Turns = 60;
const int SharedBlocks = 512;
const int WritesTogether = 300;
const long TurnSpanBytes = 32 << 20;

if (args.Length < 3)
{
    Console.Error.WriteLine("usage: SEED NAME=PATH NAME=PATH ...");
    return 2;
}

int seed = int.Parse(args[0], CultureInfo.InvariantCulture);
var doors = new List<Door>();
try
{
    foreach (string argument in args.Skip(1))
    {
        doors.Add(Door.Open(argument));
    }

    InTurns();
    Together();
    Console.WriteLine($"{string.Join(", ", doors.Select(d => d.Name))}: {Turns} writes in turns, {doors.Count * WritesTogether} together, every door saw all");
    return 0;
}
catch (Exception e) when (e is IOException or InvalidDataException or AggregateException)
{
    Console.Error.WriteLine($"seed {seed}: {e.Message}");
    return 1;
}
finally
{
    doors.ForEach(d => d.Dispose());
}

void InTurns()
{
    var random = new Random(seed);
    for (int turn = 0; turn < Turns; turn++)
    {
        byte[] data = new byte[(1 + random.Next(turn % 4 == 0 ? Door.MaxBytes / BlockBytes : 16)) * BlockBytes];
        random.NextBytes(data);
        long offset = random.NextInt64((TurnSpanBytes - data.Length) / BlockBytes) * BlockBytes;
        Door writer = doors[turn % doors.Count];
        writer.Write(offset, data);
        foreach (Door reader in doors)
        {
            byte[] seen = new byte[data.Length];
            reader.Read(offset, seen);
            int wrong = seen.AsSpan().CommonPrefixLength(data);
            if (wrong != data.Length)
            {
                throw new InvalidDataException($"turn {turn}: {writer.Name} wrote {data.Length} bytes at {offset}, {reader.Name} sees others at {offset + wrong}");
            }
        }
    }
}

void Together()
{
    uint[] generations = new uint[SharedBlocks];
    Parallel.For(0, doors.Count, new ParallelOptions { MaxDegreeOfParallelism = doors.Count }, index => WriteMine(index, generations));
    foreach (Door reader in doors)
    {
        byte[] seen = new byte[SharedBlocks * BlockBytes];
        for (int at = 0; at < seen.Length; at += Door.MaxBytes)
        {
            reader.Read(at, seen.AsSpan(at, Math.Min(Door.MaxBytes, seen.Length - at)));
        }

        for (int block = 0; block < SharedBlocks; block++)
        {
            if (generations[block] != 0 && !IsFilled(seen.AsSpan(block * BlockBytes, BlockBytes), block, generations[block]))
            {
                throw new InvalidDataException($"together: {reader.Name} does not see write {generations[block]} of {doors[block % doors.Count].Name} in block {block}");
            }
        }
    }
}

void WriteMine(int index, uint[] generations)
{
    var random = new Random(seed + index);
    byte[] data = new byte[BlockBytes];
    for (uint write = 1; write <= WritesTogether; write++)
    {
        int block = (random.Next(SharedBlocks / doors.Count) * doors.Count) + index;
        generations[block] = write;
        Fill(data, block, write);
        doors[index].Write((long)block * BlockBytes, data);
    }

    doors[index].Flush();
}

static void Fill(Span<byte> data, int block, uint generation)
{
    for (int i = 0; i < data.Length; i += sizeof(ulong))
    {
        BinaryPrimitives.WriteUInt64LittleEndian(data[i..], ((ulong)generation << 40) ^ ((ulong)block << 16) ^ (ulong)i);
    }
}

static bool IsFilled(ReadOnlySpan<byte> data, int block, uint generation)
{
    Span<byte> expected = new byte[data.Length];
    Fill(expected, block, generation);
    return data.SequenceEqual(expected);
}
