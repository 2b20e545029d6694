// The control socket under clients that hang, flood or talk nonsense: whoever comes with a request gets an answer.

using System.Net.Sockets;
using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Cli.Output;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;

namespace Polyblk.Cli.Tests;

public sealed class ControlServerTests : IDisposable
{
    private const string Volume = "v";

    private readonly SemaphoreSlim _started = new(0);
    private readonly string _directory = Directory.CreateTempSubdirectory("pbt").FullName;

    private StateDirectories Directories => new(_directory, Path.Combine(_directory, "run"));

    public void Dispose()
    {
        _started.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [Fact]
    public async Task RequestsOnOneConnectionAreAnsweredInTurn()
    {
        await using ControlServer server = Start();
        using Socket client = Connect();
        Send(client, "{\"command\":\"show\"}\n{\"command\":\"resize\"}\nnonsense\n");
        Assert.Equal("{\"ok\":true,\"error\":\"show\"}", ReadLine(client));
        Assert.Equal("{\"ok\":true,\"error\":\"resize\"}", ReadLine(client));
        Assert.Contains("No request", ReadLine(client), StringComparison.Ordinal);
    }

    [Fact]
    public async Task ClientsThatSayNothingGoForThoseThatCome()
    {
        await using ControlServer server = Start(new ControlLimits { Clients = 4 });
        Socket[] silent = [.. Enumerable.Range(0, 100).Select(_ => Connect())];
        for (int i = 0; i < 3; i++)
        {
            Assert.True((await AskAsync("show"))!.Ok);
        }

        Assert.All(silent[..96], s => Assert.Null(ReadLine(s)));
        Array.ForEach(silent, s => s.Dispose());
    }

    [Theory]
    [InlineData("")]
    [InlineData("{\"command\":")]
    public async Task ARequestHasItsTime(string start)
    {
        await using ControlServer server = Start(new ControlLimits { RequestTime = TimeSpan.FromMilliseconds(200) });
        using Socket client = Connect();
        Send(client, start);
        Assert.Null(ReadLine(client));
    }

    [Fact]
    public async Task WhereAllWaitForAnAnswerANewcomerIsToldSo()
    {
        using var go = new SemaphoreSlim(0);
        await using ControlServer server = Start(new ControlLimits { Clients = 2 }, go);
        Task<ControlResponse?>[] slow = [AskAsync("slow"), AskAsync("slow")];
        await _started.WaitAsync();
        await _started.WaitAsync();
        try
        {
            RefusalException e = await Assert.ThrowsAsync<RefusalException>(() => AskAsync("show"));
            Assert.Contains("Ask again", e.Message, StringComparison.Ordinal);
            Assert.Equal(RefusalKind.Refused, e.Kind);
        }
        finally
        {
            // The server's end waits for them.
            go.Release(2);
        }

        Assert.All(await Task.WhenAll(slow), r => Assert.True(r!.Ok));
    }

    [Fact]
    public async Task AnAnswerBeforeTheRequestWasReadIsHeard()
    {
        StateDirectories.Ensure(Directories.RuntimeOf(Volume));
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(ControlServer.PathOf(Directories, Volume)));
        listener.Listen();

        // Longer than a socket holds: it is still being sent when the other side closes.
        Task<ControlResponse?> asked = AskAsync(new string('x', 8 << 20));
        using (Socket server = await listener.AcceptAsync())
        {
            Send(server, "{\"ok\":false,\"error\":\"Ask again\",\"kind\":\"refused\"}\n");
        }

        Assert.Equal("Ask again", (await Assert.ThrowsAsync<RefusalException>(() => asked)).Message);
    }

    [Fact]
    public async Task ALineWithoutEndIsClosed()
    {
        await using ControlServer server = Start();
        using Socket client = Connect();
        string? answer = null;
        try
        {
            Send(client, new string('x', 2 * ControlServer.MaxLineBytes));
            answer = ReadLine(client);
        }
        catch (SocketException)
        {
            // Closed in the middle of what was sent.
        }

        Assert.Null(answer);
        Assert.True((await AskAsync("show"))!.Ok);
    }

    [Fact]
    public async Task TheEndWaitsForAnswersAndNotForTheSilent()
    {
        using var go = new SemaphoreSlim(0);
        ControlServer server = Start(null, go);
        using Socket silent = Connect();
        Task<ControlResponse?> slow = AskAsync("slow");
        await _started.WaitAsync();
        Task end = server.DisposeAsync().AsTask();
        Assert.Null(ReadLine(silent));
        Assert.False(end.IsCompleted);
        go.Release();
        Assert.True((await slow)!.Ok);
        await end;
        Assert.False(File.Exists(ControlServer.PathOf(Directories, Volume)));
    }

    private ControlServer Start(ControlLimits? limits = null, SemaphoreSlim? go = null)
    {
        StateDirectories.Ensure(Directories.RuntimeOf(Volume));
        return ControlServer.Start(
            Directories,
            Volume,
            async (request, _) =>
            {
                if (request.Command == "slow")
                {
                    _started.Release();
                    await go!.WaitAsync(CancellationToken.None);
                }

                return new ControlResponse { Ok = true, Error = request.Command };
            },
            NullLogger.Instance,
            limits);
    }

    private Task<ControlResponse?> AskAsync(string command) =>
        ControlClient.AskAsync(Directories, Volume, new ControlRequest { Command = command }, CancellationToken.None);

    private Socket Connect()
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)
        {
            ReceiveTimeout = 30_000,
            SendTimeout = 30_000,
        };
        socket.Connect(new UnixDomainSocketEndPoint(ControlServer.PathOf(Directories, Volume)));
        return socket;
    }

    private static void Send(Socket socket, string text) => socket.Send(Encoding.UTF8.GetBytes(text));

    /// <summary>A line, or null at the end of the connection.</summary>
    private static string? ReadLine(Socket socket)
    {
        var line = new StringBuilder();
        byte[] one = new byte[1];
        try
        {
            while (socket.Receive(one) == 1)
            {
                if (one[0] == '\n')
                {
                    return line.ToString();
                }

                line.Append((char)one[0]);
            }
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionReset)
        {
            return null;
        }

        return null;
    }
}
