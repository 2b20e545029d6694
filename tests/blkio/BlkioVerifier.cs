// Verified random I/O: every block that was written says which block it is and which write it came from, and every read is held
// against what was written last. Each queue has its share of the blocks and a thread of its own, so expectations need no locks.

using Polyblk.Compare.Clients.Blkio;

namespace Polyblk.Blkio;

/// <summary>What a verified run did.</summary>
/// <param name="Reads">Reads, all of which were right.</param>
/// <param name="Writes">Writes.</param>
/// <param name="Others">Flushes, discards and write-zeroes.</param>
public sealed record BlkioVerified(long Reads, long Writes, long Others);

/// <summary>Runs verified random I/O of mixed sizes.</summary>
public static class BlkioVerifier
{
    /// <summary>Smallest unit of the expectations.</summary>
    public const int UnitBytes = 4096;

    /// <summary>
    /// Runs <paramref name="requestsPerQueue"/> requests on each queue, and more for as long as <paramref name="goesOn"/> says so
    /// (asked by each queue's thread before each request), <paramref name="depth"/> of them at once, then reads everything back.
    /// </summary>
    /// <exception cref="InvalidDataException">A block was wrong; the message gives the seed, block and contents.</exception>
    /// <exception cref="IOException">A request failed.</exception>
    public static BlkioVerified Run(string driver, string path, int queues, long spanBytes, int requestsPerQueue, int maxUnits, int seed, Func<bool>? goesOn = null, int depth = 16)
    {
        using var disk = new BlkioDisk(driver, path, queues, (long)queues * depth * maxUnits * UnitBytes);
        long units = Math.Min(spanBytes, disk.CapacityBytes) / UnitBytes / queues;
        var workers = new Worker[queues];
        var failures = new Exception?[queues];
        var threads = new Thread[queues];
        for (int i = 0; i < queues; i++)
        {
            int index = i;
            workers[i] = new Worker(disk, index, units, maxUnits, depth, seed);
            threads[i] = new Thread(() =>
            {
                try
                {
                    workers[index].Run(requestsPerQueue, goesOn ?? (() => false));
                }
                catch (Exception e) when (e is IOException or InvalidDataException)
                {
                    failures[index] = e;
                }
            });
            threads[i].Start();
        }

        foreach (Thread thread in threads)
        {
            thread.Join();
        }

        if (Array.Find(failures, f => f is not null) is { } failure)
        {
            throw new InvalidDataException($"seed {seed}: {failure.Message}", failure);
        }

        return new BlkioVerified(workers.Sum(w => w.Reads), workers.Sum(w => w.Writes), workers.Sum(w => w.Others));
    }

    private enum Kind
    {
        Read,
        Write,
        WriteZeroes,
        Flush,
    }

    private struct Slot
    {
        public Kind Kind;
        public long Unit;
        public int Count;
        public bool Busy;
    }

    private sealed unsafe class Worker(BlkioDisk disk, int index, long units, int maxUnits, int depth, int seed)
    {
        private const uint NeverWritten = uint.MaxValue;
        private const int PatientTurns = 50;

        private readonly Random _random = new(seed + (index * 7919));
        private readonly uint[] _generation = NewGenerations(units);
        private readonly bool[] _locked = new bool[units];
        private readonly Slot[] _slots = new Slot[depth];
        private readonly nint _queue = disk.Queue(index);
        private uint _lastGeneration;
        private int _idleTurns;

        public long Reads { get; private set; }

        public long Writes { get; private set; }

        public long Others { get; private set; }

        public void Run(int requests, Func<bool> goesOn)
        {
            int left = requests;
            int inFlight = 0;
            blkio_completion* done = stackalloc blkio_completion[32];
            while (left > 0 || inFlight > 0 || goesOn())
            {
                while ((left > 0 || goesOn()) && inFlight < depth && TryStart())
                {
                    left--;
                    inFlight++;
                }

                inFlight -= Reap(done);
            }

            ReadBack(done);
        }

        private static uint[] NewGenerations(long units)
        {
            uint[] all = new uint[units];
            Array.Fill(all, NeverWritten);
            return all;
        }

        private int Reap(blkio_completion* done)
        {
            int count = LibBlkio.blkioq_do_io(_queue, done, 0, 32, null);
            if (count < 0)
            {
                throw new IOException($"do_io: {LibBlkio.ErrorMessage} ({count})");
            }

            // The target may be waiting for this processor; in a virtual machine, for the one of the host that this one of the
            // machine's runs on.
            _idleTurns = count > 0 ? 0 : _idleTurns + 1;
            if (_idleTurns > PatientTurns)
            {
                Thread.Sleep(1);
            }
            else if (_idleTurns > 0)
            {
                Thread.Yield();
            }

            for (int i = 0; i < count; i++)
            {
                Finish((int)done[i].user_data, done[i].ret);
            }

            return count;
        }

        /// <summary>Starts one request on a free slot; false when the blocks that chance chose are in use.</summary>
        private bool TryStart()
        {
            int free = Array.FindIndex(_slots, s => !s.Busy);
            int count = 1 + _random.Next(maxUnits);
            long unit = _random.NextInt64(units - count);
            int dice = _random.Next(100);
            Kind kind = dice < 45 ? Kind.Read : dice < 90 ? Kind.Write : dice < 95 ? Kind.WriteZeroes : Kind.Flush;
            for (int i = 0; kind != Kind.Flush && i < count; i++)
            {
                if (_locked[unit + i])
                {
                    return false;
                }
            }

            Start(free, kind, unit, kind == Kind.Flush ? 0 : count);
            return true;
        }

        private void Start(int slot, Kind kind, long unit, int count)
        {
            _slots[slot] = new Slot { Kind = kind, Unit = unit, Count = count, Busy = true };
            for (int i = 0; i < count; i++)
            {
                _locked[unit + i] = true;
            }

            ulong offset = (ulong)(((index * units) + unit) * UnitBytes);
            byte* data = DataOf(slot);
            switch (kind)
            {
                case Kind.Read:
                    LibBlkio.blkioq_read(_queue, offset, data, (nuint)(count * UnitBytes), slot, 0);
                    break;
                case Kind.Write:
                    _lastGeneration++;
                    for (int i = 0; i < count; i++)
                    {
                        _generation[unit + i] = _lastGeneration;
                        Fill(data + (i * UnitBytes), unit + i, _lastGeneration);
                    }

                    LibBlkio.blkioq_write(_queue, offset, data, (nuint)(count * UnitBytes), slot, 0);
                    break;
                case Kind.WriteZeroes:
                    for (int i = 0; i < count; i++)
                    {
                        _generation[unit + i] = 0;
                    }

                    LibBlkio.blkioq_write_zeroes(_queue, offset, (ulong)(count * UnitBytes), slot, 0);
                    break;
                default:
                    LibBlkio.blkioq_flush(_queue, slot, 0);
                    break;
            }
        }

        private void Finish(int index1, int ret)
        {
            ref Slot slot = ref _slots[index1];
            if (ret != 0)
            {
                throw new IOException($"{slot.Kind} of {slot.Count} blocks at {slot.Unit} failed with {ret}");
            }

            if (slot.Kind == Kind.Read)
            {
                for (int i = 0; i < slot.Count; i++)
                {
                    Check(DataOf(index1) + (i * UnitBytes), slot.Unit + i);
                }
            }

            Reads += slot.Kind == Kind.Read ? 1 : 0;
            Writes += slot.Kind == Kind.Write ? 1 : 0;
            Others += slot.Kind is Kind.Flush or Kind.WriteZeroes ? 1 : 0;
            for (int i = 0; i < slot.Count; i++)
            {
                _locked[slot.Unit + i] = false;
            }

            slot.Busy = false;
        }

        private void ReadBack(blkio_completion* done)
        {
            for (long unit = 0; unit < units; unit += maxUnits)
            {
                Start(0, Kind.Read, unit, (int)Math.Min(maxUnits, units - unit));
                while (_slots[0].Busy)
                {
                    Reap(done);
                }
            }
        }

        private byte* DataOf(int slot) => disk.Buffer + ((((long)index * depth) + slot) * maxUnits * UnitBytes);

        private void Fill(byte* data, long unit, uint generation)
        {
            var words = (ulong*)data;
            ulong state = Mix(unit, generation);
            for (int i = 0; i < UnitBytes / sizeof(ulong); i++)
            {
                words[i] = state + ((ulong)i * 0x9E3779B97F4A7C15UL);
            }
        }

        private void Check(byte* data, long unit)
        {
            uint generation = _generation[unit];
            if (generation == NeverWritten)
            {
                return;
            }

            var words = (ulong*)data;
            ulong state = Mix(unit, generation);
            for (int i = 0; i < UnitBytes / sizeof(ulong); i++)
            {
                ulong expected = generation == 0 ? 0 : state + ((ulong)i * 0x9E3779B97F4A7C15UL);
                if (words[i] != expected)
                {
                    throw new InvalidDataException(
                        $"queue {index}, block {unit}, word {i}: {words[i]:x16} instead of {expected:x16} (write {generation})");
                }
            }
        }

        private ulong Mix(long unit, uint generation) => ((ulong)generation << 40) ^ ((ulong)(index + 1) << 56) ^ (ulong)unit ^ ((ulong)(uint)seed << 20);
    }
}
