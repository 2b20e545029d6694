using System.Diagnostics;
using Polyblk.Compare.Clients.Nbd;
using Polyblk.Compare.Load;

namespace Polyblk.Compare.Restart;

/// <summary>
/// What QEMU does with <c>reconnect-delay</c>: each connection is made anew, and what was not answered is sent again.
/// </summary>
internal sealed class EnduringNbd : IEnduringLoad
{
    private const int Connections = 4;
    private static readonly TimeSpan s_retry = TimeSpan.FromMilliseconds(5);

    private readonly NbdEndpoint _endpoint;
    private readonly NbdClient[] _clients;

    public EnduringNbd(NbdEndpoint endpoint)
    {
        _endpoint = endpoint;
        _clients = [.. Enumerable.Range(0, Connections).Select(_ => new NbdClient(endpoint.SocketPath, endpoint.ExportName))];
    }

    public string Description => $"{Connections} connections, each made anew every {s_retry.TotalMilliseconds} ms, as QEMU does with reconnect-delay; what was not answered is sent again";

    public void Run(RestartJournal journal, Func<bool> mustStop) =>
        EnduringThreads.Run(Connections, journal, mustStop, (thread, offset, data) => Endure(thread, client => client.Write(offset, data)) == 0);

    public bool Read(long offsetBytes, Span<byte> buffer)
    {
        byte[] data = new byte[buffer.Length];
        bool isOk = Endure(0, client => client.Read(offsetBytes, data)) == 0;
        data.CopyTo(buffer);
        return isOk;
    }

    public void Dispose() => Array.ForEach(_clients, c => c.Dispose());

    /// <summary>Does it until it is answered.</summary>
    private int Endure(int thread, Func<NbdClient, int> request)
    {
        for (var wait = Stopwatch.StartNew(); ; Thread.Sleep(s_retry))
        {
            try
            {
                if (_clients[thread].IsBroken)
                {
                    _clients[thread].Dispose();
                    _clients[thread] = new NbdClient(_endpoint.SocketPath, _endpoint.ExportName);
                }

                return request(_clients[thread]);
            }
            catch (IOException) when (wait.Elapsed < RestartPatience.Consumer)
            {
                // The target is away.
                continue;
            }
        }
    }
}
