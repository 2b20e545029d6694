// Writes to one volume through each of its doors and reads through the others: SEED NAME=PATH NAME=PATH ...
//
// In turns: a write of any size through one door is read through every other one, at once. Together: every door has each n-th
// block of the same few stripes and writes to its blocks again and again while the others do; then each door must see the last
// write of all.

using System.Buffers.Binary;
using System.Globalization;

using Polyblk.GuestPrograms.Doors;

namespace Polyblk.GuestPrograms.Coherence;

/// <summary>See the top of the file.</summary>
internal sealed class CoherenceProgram : IDisposable
{
    private const int BlockBytes = 4096;
    private const int Turns = 60;
    private const int SharedBlocks = 512;
    private const int WritesTogether = 300;
    private const long TurnSpanBytes = 32 << 20;

    private readonly int _seed;
    private readonly List<Door> _doors = [];

    private CoherenceProgram(int seed) => _seed = seed;

    /// <summary>Does what the words say, and returns the exit status.</summary>
    public static int Run(string[] args)
    {
        if (args.Length < 3)
        {
            Console.Error.WriteLine("usage: SEED NAME=PATH NAME=PATH ...");
            return 2;
        }

        using var program = new CoherenceProgram(int.Parse(args[0], CultureInfo.InvariantCulture));
        try
        {
            foreach (string argument in args.Skip(1))
            {
                program._doors.Add(Door.Open(argument));
            }

            program.InTurns();
            program.Together();
            Console.WriteLine($"{string.Join(", ", program._doors.Select(d => d.Name))}: {Turns} writes in turns, "
                + $"{program._doors.Count * WritesTogether} together, every door saw all");
            return 0;
        }
        catch (Exception e) when (e is IOException or InvalidDataException or AggregateException)
        {
            Console.Error.WriteLine($"seed {program._seed}: {e.Message}");
            return 1;
        }
    }

    public void Dispose() => _doors.ForEach(d => d.Dispose());

    private void InTurns()
    {
        var random = new Random(_seed);
        for (int turn = 0; turn < Turns; turn++)
        {
            byte[] data = new byte[(1 + random.Next(turn % 4 == 0 ? Door.MaxBytes / BlockBytes : 16)) * BlockBytes];
            random.NextBytes(data);
            long offset = random.NextInt64((TurnSpanBytes - data.Length) / BlockBytes) * BlockBytes;
            Door writer = _doors[turn % _doors.Count];
            writer.Write(offset, data);
            foreach (Door reader in _doors)
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

    private void Together()
    {
        uint[] generations = new uint[SharedBlocks];
        Parallel.For(0, _doors.Count, new ParallelOptions { MaxDegreeOfParallelism = _doors.Count }, index => WriteMine(index, generations));
        foreach (Door reader in _doors)
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
                    throw new InvalidDataException($"together: {reader.Name} does not see write {generations[block]} of {_doors[block % _doors.Count].Name} in block {block}");
                }
            }
        }
    }

    private void WriteMine(int index, uint[] generations)
    {
        var random = new Random(_seed + index);
        byte[] data = new byte[BlockBytes];
        for (uint write = 1; write <= WritesTogether; write++)
        {
            int block = (random.Next(SharedBlocks / _doors.Count) * _doors.Count) + index;
            generations[block] = write;
            Fill(data, block, write);
            _doors[index].Write((long)block * BlockBytes, data);
        }

        _doors[index].Flush();
    }

    private static void Fill(Span<byte> data, int block, uint generation)
    {
        for (int i = 0; i < data.Length; i += sizeof(ulong))
        {
            BinaryPrimitives.WriteUInt64LittleEndian(data[i..], ((ulong)generation << 40) ^ ((ulong)block << 16) ^ (ulong)i);
        }
    }

    private static bool IsFilled(ReadOnlySpan<byte> data, int block, uint generation)
    {
        Span<byte> expected = new byte[data.Length];
        Fill(expected, block, generation);
        return data.SequenceEqual(expected);
    }
}
