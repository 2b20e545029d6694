// A volume that is paused: who uses it waits, and goes on when it is resumed, when its time is over, or when it ends; what would
// break that is refused meanwhile.

using System.Globalization;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Host;
using Polyblk.Host.Daemon;
using Polyblk.Host.Model;

namespace Polyblk.Cli.Tests;

public sealed class PauseTests : DaemonTestBase
{
    private const int BlockBytes = 4096;

    [Fact]
    public async Task WhoUsesItWaitsUntilItIsResumed()
    {
        using VhostUserClient client = await ServeAsync();
        Assert.Contains(
            "is paused until", (await MustAsync("volume", "pause", "data", "--for", "3600")).Output, StringComparison.Ordinal);
        Assert.NotNull(Daemon!.GetLive()[0].PausedUntilUtc);
        Submit(client);
        Assert.False(IsAnswered(client, TimeSpan.FromMilliseconds(200)));

        Assert.Contains("is paused until", (await RefusedAsync("volume", "pause", "data")), StringComparison.Ordinal);
        Assert.Contains(
            "volume resume data", await RefusedAsync("export", "add", "data", "--frontend", "nbd"), StringComparison.Ordinal);
        Assert.Contains("is paused", Daemon.BeginHandOver(), StringComparison.Ordinal);

        await MustAsync("volume", "resume", "data");
        Assert.True(IsAnswered(client, TooLong));
        Assert.Null(Daemon.GetLive()[0].PausedUntilUtc);
        await MustAsync("volume", "resume", "data");
        Submit(client);
        Assert.True(IsAnswered(client, TooLong));
    }

    [Fact]
    public async Task ItGoesOnByItselfWhenItsTimeIsOver()
    {
        using VhostUserClient client = await ServeAsync();
        await MustAsync("volume", "pause", "data", "--for", "1");
        Submit(client);
        Assert.True(IsAnswered(client, TooLong));

        // An end of a pause that is over already ends none that came later.
        await MustAsync("volume", "pause", "data", "--for", "3600");
        Submit(client);
        Assert.False(IsAnswered(client, TimeSpan.FromMilliseconds(200)));
    }

    [Fact]
    public async Task ItEndsInOrderAndItsConsumerCanBeRemoved()
    {
        using VhostUserClient client = await ServeAsync();
        await MustAsync("volume", "pause", "data", "--for", "3600");
        Submit(client);
        Assert.Contains(
            "volume resume data", await RefusedAsync("export", "remove", "data/vhost-user/0"), StringComparison.Ordinal);
        Assert.Contains("volume resume data", await RefusedAsync("volume", "stop", "data"), StringComparison.Ordinal);
        Assert.False(IsAnswered(client, TimeSpan.FromMilliseconds(200)));
        await MustAsync("export", "remove", "data/vhost-user/0", "--force");
        Assert.True(client.IsDisconnected);
        Assert.Equal("optimal", (await ShowAsync("data")).GetProperty("health").GetString());
    }

    [Fact]
    public async Task TheDaemonEndsInOrderInAPause()
    {
        using VhostUserClient client = await ServeAsync();
        Submit(client);
        Assert.True(IsAnswered(client, TooLong));
        await MustAsync("volume", "pause", "data", "--for", "3600");
        Submit(client);
        Assert.True(await Daemon!.ShutDownAsync());
        Assert.Equal("optimal", (await ShowAsync("data")).GetProperty("health").GetString());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3601)]
    public async Task ATimeThatIsNoneIsRefused(int seconds)
    {
        using VhostUserClient client = await ServeAsync();
        Assert.Contains("1 to 3600 seconds", await RefusedAsync(
            "volume", "pause", "data", "--for", seconds.ToString(CultureInfo.InvariantCulture)), StringComparison.Ordinal);
        Submit(client);
        Assert.True(IsAnswered(client, TooLong));
    }

    private async Task<VhostUserClient> ServeAsync()
    {
        await CreateAsync("data", "raid1", 2);
        await StartAsync();
        await MustAsync("export", "add", "data", "--frontend", "vhost-user", "--queues", "1", "--socket", PathOf("data.sock"));
        return new VhostUserClient(
            new VhostUserClientOptions { SocketPath = PathOf("data.sock"), Depth = 1, BufferBytes = BlockBytes });
    }

    private async Task<string> RefusedAsync(params string[] arguments)
    {
        (int code, _, string errors) = await RunAsync(arguments);
        Assert.NotEqual(ExitCode.Ok, code);
        return errors;
    }

    private static void Submit(VhostUserClient client)
    {
        client.Queues[0].Submit(0, ClientOperation.Write, 0, BlockBytes);
        client.Queues[0].Publish();
    }

    private static bool IsAnswered(VhostUserClient client, TimeSpan within)
    {
        Span<ClientCompletion> done = stackalloc ClientCompletion[1];
        long end = Environment.TickCount64 + (long)within.TotalMilliseconds;
        for (; Environment.TickCount64 < end; client.Queues[0].Wait(20))
        {
            if (client.Queues[0].Poll(done) == 1)
            {
                return done[0].Status == 0;
            }
        }

        return false;
    }
}
