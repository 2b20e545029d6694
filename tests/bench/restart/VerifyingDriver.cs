using System.Diagnostics;
using Polyblk.Compare.Clients.VhostUser;

namespace Polyblk.Bench.Restart;

/// <summary>
/// Writes, reads and compares, one request at a time, on a thread of its own, and notes the longest wait for an answer.
/// </summary>
internal sealed class VerifyingDriver
{
    private const int BlockBytes = 4096;
    private const int Blocks = 4096;
    private const int WritesPerFlush = 4;

    private static readonly TimeSpan s_retry = TimeSpan.FromMilliseconds(1);
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    private readonly VhostUserClient _client;
    private readonly bool _reconnects;
    private readonly Thread _thread;
    private volatile bool _isEnding;
    private Exception? _failure;
    private double _longest;
    private long _requests;

    /// <param name="socket">Where it connects.</param>
    /// <param name="reconnects">Whether it connects again where the connection ends, as QEMU with "reconnect" does.</param>
    public VerifyingDriver(string socket, bool reconnects)
    {
        _reconnects = reconnects;
        _client = new VhostUserClient(new VhostUserClientOptions
        {
            SocketPath = socket, Queues = 1, Depth = 1, BufferBytes = BlockBytes, Inflight = true,
        });
        _thread = new Thread(Run) { IsBackground = true };
        _thread.Start();
    }

    /// <summary>The longest wait since the last time, in milliseconds.</summary>
    public double TakeLongest()
    {
        Throw();
        return Interlocked.Exchange(ref _longest, 0);
    }

    /// <summary>Ends it; the requests that it made.</summary>
    public long End()
    {
        _isEnding = true;
        _thread.Join();
        Throw();
        _client.Detach();
        return _requests;
    }

    private void Throw()
    {
        if (_failure is not null)
        {
            throw new InvalidOperationException($"The driver has failed: {_failure.Message}", _failure);
        }
    }

    private void Run()
    {
        try
        {
            var random = new Random(1);
            for (int round = 0; !_isEnding; round++)
            {
                long offset = random.Next(Blocks) * (long)BlockBytes;
                byte value = (byte)random.Next(256);
                _client.Queues[0].Buffer(0).Fill(value);
                Do(ClientOperation.Write, offset, BlockBytes);
                if (round % WritesPerFlush == 0)
                {
                    Do(ClientOperation.Flush, 0, 0);
                }

                _client.Queues[0].Buffer(0).Clear();
                Do(ClientOperation.Read, offset, BlockBytes);
                if (_client.Queues[0].Buffer(0).IndexOfAnyExcept(value) >= 0)
                {
                    throw new InvalidDataException($"The block at {offset} is not what was written.");
                }
            }
        }
#pragma warning disable CA1031 // Told by who asks for figures.
        catch (Exception e)
#pragma warning restore CA1031
        {
            _failure = e;
        }
    }

    private void Do(ClientOperation operation, long offset, long length)
    {
        ClientQueue queue = _client.Queues[0];
        long began = Stopwatch.GetTimestamp();
        queue.Submit(0, operation, offset, length);
        queue.Publish();
        Span<ClientCompletion> done = stackalloc ClientCompletion[1];
        while (queue.Poll(done) == 0)
        {
            queue.Wait(1);
            if (_client.IsDisconnected)
            {
                Reconnect();
            }
        }

        _requests++;
        if (done[0].Status != 0)
        {
            throw new IOException($"{operation} at {offset} has failed with status {done[0].Status}.");
        }

        _longest = Math.Max(_longest, Stopwatch.GetElapsedTime(began).TotalMilliseconds);
    }

    private void Reconnect()
    {
        if (!_reconnects)
        {
            throw new IOException("The connection has ended.");
        }

        for (long began = Stopwatch.GetTimestamp(); ; Thread.Sleep(s_retry))
        {
            try
            {
                _client.Reconnect();
                return;
            }
            catch (IOException) when (Stopwatch.GetElapsedTime(began) < s_patience)
            {
                // Nobody listens yet, or it has died again.
            }
        }
    }
}
