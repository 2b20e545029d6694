using System.Diagnostics;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Compare.Load;

namespace Polyblk.Compare.Restart;

/// <summary>
/// What QEMU does with <c>reconnect-ms</c>: it connects again, with the same memory, rings and inflight buffer.
/// </summary>
internal sealed class EnduringVhostUser : IEnduringLoad
{
    private const int Depth = 8;
    private static readonly TimeSpan s_silence = TimeSpan.FromMilliseconds(20);
    private static readonly TimeSpan s_retry = TimeSpan.FromMilliseconds(5);

    private readonly TimeSpan _drainPatience;
    private readonly VhostUserClient _client;
    private readonly string _socketPath;

    /// <param name="endpoint">The target.</param>
    /// <param name="drainPatience">How long requests in flight may wait for an answer when the load ends; null for the
    /// usual.</param>
    public EnduringVhostUser(VhostUserEndpoint endpoint, TimeSpan? drainPatience = null)
    {
        _drainPatience = drainPatience ?? RestartPatience.Drain;
        _socketPath = endpoint.SocketPath;
        _client = new VhostUserClient(new VhostUserClientOptions
        {
            SocketPath = endpoint.SocketPath, Queues = 1, Depth = Depth, BufferBytes = RestartJournal.BlockBytes, Inflight = true,
        });
    }

    public string Description => $"the built-in virtio driver connects again every {s_retry.TotalMilliseconds} ms, as QEMU does with reconnect-ms, and hands over the same rings";

    public void Run(RestartJournal journal, Func<bool> mustStop)
    {
        ClientQueue queue = _client.Queues[0];
        int[] blocks = new int[Depth];
        Span<ClientCompletion> done = stackalloc ClientCompletion[Depth];
        var silence = Stopwatch.StartNew();
        Stopwatch? drain = null;
        while (!mustStop() || queue.InFlight > 0)
        {
            drain ??= mustStop() ? Stopwatch.StartNew() : null;
            if (drain?.Elapsed > _drainPatience)
            {
                throw new IOException($"{queue.InFlight} requests are still waiting for an answer.");
            }

            for (int slot = 0; slot < Depth && !mustStop(); slot++)
            {
                if (!queue.IsBusy(slot))
                {
                    blocks[slot] = journal.Take(queue.Buffer(slot));
                    queue.Submit(slot, ClientOperation.Write, RestartJournal.OffsetOf(blocks[slot]), RestartJournal.BlockBytes);
                }
            }

            queue.Publish();
            int count = queue.Poll(done);
            foreach (ClientCompletion completion in done[..count])
            {
                journal.Complete(blocks[completion.Slot], completion.Status == 0);
            }

            if (count > 0)
            {
                silence.Restart();
            }
            else if (silence.Elapsed > s_silence)
            {
                ReconnectIfGone();
                silence.Restart();
            }
        }
    }

    public bool Read(long offsetBytes, Span<byte> buffer)
    {
        ClientQueue queue = _client.Queues[0];
        var done = new ClientCompletion[1];
        queue.Submit(0, ClientOperation.Read, offsetBytes, buffer.Length);
        queue.Publish();
        for (var wait = Stopwatch.StartNew(); queue.Poll(done) == 0;)
        {
            if (wait.Elapsed > RestartPatience.Consumer)
            {
                throw new IOException($"{_socketPath} did not answer after its restart.");
            }
        }

        queue.Buffer(0)[..buffer.Length].CopyTo(buffer);
        return done[0].Status == 0;
    }

    public void Dispose() => _client.Dispose();

    /// <summary>A target that is slow is not gone: only a connection that was closed is made anew.</summary>
    private void ReconnectIfGone()
    {
        if (!_client.IsDisconnected)
        {
            return;
        }

        for (var wait = Stopwatch.StartNew(); ; Thread.Sleep(s_retry))
        {
            try
            {
                _client.Reconnect();
                return;
            }
            catch (IOException) when (wait.Elapsed < RestartPatience.Consumer)
            {
                // Nobody listens yet.
                continue;
            }
        }
    }
}
