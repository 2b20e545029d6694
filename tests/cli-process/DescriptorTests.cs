// A process that runs out of descriptors: it says so, refuses whom it cannot serve, lives on, and ends in time.

using System.Net.Sockets;
using System.Text;
using Polyblk.Host;

namespace Polyblk.Cli.Process.Tests;

public sealed class DescriptorTests : IDisposable
{
    private const int SigTerm = 15;
    private const string Descriptors = "180";

    private readonly PolyblkSandbox _sandbox = new();

    public void Dispose() => _sandbox.Dispose();

    [Fact]
    public void ClientsThatUseUpTheDescriptorsEndNeitherTheProcessNorItsStop()
    {
        _sandbox.Must("volume", "create", "d", "--level", "none", "ram:64MiB");
        using var serve = new ServeProcess(_sandbox.Start(["serve", "d", "--frontend", "nbd", "--json"], start =>
        {
            start.ArgumentList.Insert(0, $"--nofile={Descriptors}");
            start.ArgumentList.Insert(1, start.FileName);
            start.FileName = "prlimit";
        }));
        serve.WaitUntilReady();
        var clients = new List<Socket>();
        int served = 0;
        for (int i = 0; i < 400; i++)
        {
            Socket client = Connect(serve.Socket());
            clients.Add(client);
            served += Transmits(client) ? 1 : 0;
        }

        // So many that the limit was met, and not all of them.
        Assert.InRange(served, 10, 210);
        Assert.Contains("errno 24", serve.Errors, StringComparison.Ordinal);
        clients.ForEach(c => c.Dispose());
        Assert.True(SpinWait.SpinUntil(() => _sandbox.Run("volume", "show", "d", "--json").ExitCode == 0, 60_000));
        using Socket again = Connect(serve.Socket());
        Assert.True(Transmits(again));
        Assert.Equal(0, serve.End(SigTerm));
    }

    private static Socket Connect(string path)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 30_000 };
        socket.Connect(new UnixDomainSocketEndPoint(path));
        return socket;
    }

    /// <summary>
    /// Asks for the default export in the old way (NBD_OPT_EXPORT_NAME): 18 bytes of greeting, then 134 of answer.
    /// </summary>
    private static bool Transmits(Socket socket)
    {
        try
        {
            socket.Send(Encoding.Latin1.GetBytes("\0\0\0\u0001IHAVEOPT\0\0\0\u0001\0\0\0\0"));
            byte[] bytes = new byte[18 + 134];
            for (int have = 0; have < bytes.Length;)
            {
                int read = socket.Receive(bytes, have, bytes.Length - have, SocketFlags.None);
                if (read == 0)
                {
                    return false;
                }

                have += read;
            }

            return true;
        }
        catch (SocketException e) when (e.SocketErrorCode is SocketError.ConnectionReset or SocketError.Shutdown)
        {
            return false;
        }
    }
}
