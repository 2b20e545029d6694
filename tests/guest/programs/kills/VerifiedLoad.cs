using System.Diagnostics;
using Polyblk.GuestPrograms.Doors;

namespace Polyblk.GuestPrograms.Kills;

/// <summary>
/// Writes, reads and compares through one door, one request at a time, in an area that is nobody else's, on a thread of its own;
/// notes the longest wait for an answer.
/// </summary>
internal sealed class VerifiedLoad
{
    /// <summary>How much of a volume one load has.</summary>
    public const int AreaBytes = Blocks * BlockBytes;

    private const int BlockBytes = 4096;
    private const int Blocks = 256;
    private const int WritesPerFlush = 8;

    private readonly Door _door;
    private readonly long _start;
    private readonly int[] _written = new int[Blocks];
    private readonly Thread _thread;
    private volatile bool _isEnding;
    private volatile Exception? _failure;
    private long _requests;
    private double _longest;

    /// <param name="door">The door; disposed by <see cref="End"/>.</param>
    /// <param name="area">Which area of the volume.</param>
    public VerifiedLoad(Door door, int area)
    {
        _door = door;
        _start = (long)area * AreaBytes;
        _thread = new Thread(Run) { IsBackground = true };
        _thread.Start();
    }

    /// <summary>The door's name.</summary>
    public string Name => _door.Name;

    /// <summary>Requests that were answered, and right.</summary>
    /// <exception cref="IOException">One was not.</exception>
    public long Requests
    {
        get
        {
            Throw();
            return Volatile.Read(ref _requests);
        }
    }

    /// <summary>The longest wait since the last time, in milliseconds.</summary>
    public double TakeLongest() => Interlocked.Exchange(ref _longest, 0);

    /// <summary>Ends it, and reads all of the area once more.</summary>
    /// <exception cref="IOException">A request failed, or a block is not what was written.</exception>
    public void End()
    {
        _isEnding = true;
        _thread.Join();
        Throw();
        for (int block = 0; block < Blocks; block++)
        {
            Compare(block);
        }

        _door.Dispose();
    }

    private void Run()
    {
        try
        {
            for (int block = 0; block < Blocks; block++)
            {
                Write(block, 0);
            }

            var random = new Random((int)_start);
            for (int round = 1; !_isEnding; round++)
            {
                Write(random.Next(Blocks), round);
                if (round % WritesPerFlush == 0)
                {
                    Time(() => _door.Flush());
                }

                Compare(random.Next(Blocks));
            }
        }
        catch (Exception e) when (e is IOException or InvalidDataException)
        {
            _failure = e;
        }
    }

    private void Write(int block, int round)
    {
        byte[] data = Content(block, round);
        Time(() => _door.Write(_start + ((long)block * BlockBytes), data));
        _written[block] = round;
    }

    private void Compare(int block)
    {
        byte[] data = new byte[BlockBytes];
        Time(() => _door.Read(_start + ((long)block * BlockBytes), data));
        if (!data.AsSpan().SequenceEqual(Content(block, _written[block])))
        {
            throw new IOException($"{Name}: block {block} is not what was written in round {_written[block]}");
        }
    }

    private void Time(Action request)
    {
        long began = Stopwatch.GetTimestamp();
        request();
        Interlocked.Increment(ref _requests);
        _longest = Math.Max(_longest, Stopwatch.GetElapsedTime(began).TotalMilliseconds);
    }

    private byte[] Content(int block, int round)
    {
        byte[] data = new byte[BlockBytes];
        new Random(HashCode(block, round)).NextBytes(data);
        return data;
    }

    private int HashCode(int block, int round) => (((int)_start + block) * 1_000_003) + round;

    private void Throw()
    {
        if (_failure is not null)
        {
            throw new IOException($"{Name}: {_failure.Message}", _failure);
        }
    }
}
