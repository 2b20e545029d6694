// The port for metrics: which addresses it takes, what it answers, and that a port that somebody has is waited for or refused.

using System.Net;
using System.Net.Sockets;
using Polyblk.Api;
using Polyblk.Host;

namespace Polyblk.Cli.Tests;

public sealed class MetricsPortTests : DaemonTestBase
{
    [Theory]
    [InlineData("127.0.0.1:9777")]
    [InlineData("127.8.9.1:1")]
    [InlineData("[::1]:9777")]
    public void AddressesOfThisHostAloneAreTaken(string text) => Assert.Equal(text, MetricsPort.Parse(text).ToString());

    [Theory]
    [InlineData("0.0.0.0:9777", "other hosts")]
    [InlineData("[::]:9777", "other hosts")]
    [InlineData("192.0.2.1:9777", "other hosts")]
    [InlineData("127.0.0.1", "with a port")]
    [InlineData("127.0.0.1:0", "with a port")]
    [InlineData("localhost:9777", "with a port")]
    [InlineData("9777", "with a port")]
    [InlineData("", "with a port")]
    public void OthersAreRefusedWithTheReason(string text, string reason) =>
        Assert.Contains(reason, Assert.Throws<FormatException>(() => MetricsPort.Parse(text)).Message, StringComparison.Ordinal);

    [Fact]
    public async Task TheCommandRefusesAnAddressThatOthersReach()
    {
        (int code, _, string errors) = await RunAsync("daemon", "--metrics", "0.0.0.0:9777");
        Assert.Equal(ExitCode.Usage, code);
        Assert.Contains("can be reached from other hosts", errors, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("127.0.0.1")]
    [InlineData("::1")]
    public async Task OnlyMetricsAreThere(string address)
    {
        await StartAsync();
        IPEndPoint free = Free(IPAddress.Parse(address));
        await using MetricsPort port = await MetricsPort.StartAsync(Daemon!, free, TimeSpan.Zero, CancellationToken.None);
        using var client = new HttpClient { BaseAddress = new Uri($"http://{free}"), Timeout = TooLong };
        string text = await client.GetStringAsync("/metrics");
        Assert.Contains("# TYPE polyblk_reactor_turns_total counter\n", text, StringComparison.Ordinal);
        (HttpMethod, string)[] others =
        [
            (HttpMethod.Get, "/v1/daemon"), (HttpMethod.Get, "/"), (HttpMethod.Delete, "/metrics"), (HttpMethod.Post, "/metrics"),
        ];
        foreach ((HttpMethod method, string path) in others)
        {
            using var request = new HttpRequestMessage(method, path);
            using HttpResponseMessage answer = await client.SendAsync(request);
            Assert.Equal(HttpStatusCode.NotFound, answer.StatusCode);
        }
    }

    /// <summary>As when a predecessor has it still.</summary>
    [Fact]
    public async Task APortThatSomebodyHasIsWaitedFor()
    {
        await StartAsync();
        IPEndPoint free = Free(IPAddress.Loopback);
        MetricsPort first = await MetricsPort.StartAsync(Daemon!, free, TimeSpan.Zero, CancellationToken.None);
        RefusalException refusal = await Assert.ThrowsAsync<RefusalException>(
            () => MetricsPort.StartAsync(Daemon!, free, TimeSpan.Zero, CancellationToken.None));
        Assert.Contains(free.ToString(), refusal.Message, StringComparison.Ordinal);
        Task<MetricsPort> second = MetricsPort.StartAsync(Daemon!, free, TooLong, CancellationToken.None);
        Assert.False(second.IsCompletedSuccessfully);
        await first.DisposeAsync();
        await first.DisposeAsync();
        await using MetricsPort port = await second;

        using var tired = new CancellationTokenSource();
        Task<MetricsPort> third = MetricsPort.StartAsync(Daemon!, free, TooLong, tired.Token);
        await tired.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => third);
    }

    private static IPEndPoint Free(IPAddress address)
    {
        using var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(address, 0));
        return (IPEndPoint)socket.LocalEndPoint!;
    }
}
