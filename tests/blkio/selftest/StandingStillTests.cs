// A back-end that stands still: libblkio waits for it without a limit, a comparison must not.

using System.Net.Sockets;
using Polyblk.Compare.Clients;
using Polyblk.Compare.Clients.Blkio;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Compare.Load;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Workloads;

namespace Polyblk.Blkio.Tests;

public sealed class StandingStillTests : KnownGoodBackend
{
    private static readonly TimeSpan s_short = TimeSpan.FromMilliseconds(300);
    private static readonly TimeSpan s_hung = TimeSpan.FromMinutes(1);

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task An_attachment_that_is_not_answered_is_given_up_and_can_be_broken_off(bool libblkio)
    {
        string silent = PathOf("silent.sock");
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(silent));
        listener.Listen(16);
        MethodException e = await Assert.ThrowsAsync<MethodException>(() => RunAsync(libblkio, s_short, silent, CancellationToken.None));
        Assert.True(e.IsFinal);
        Assert.Equal("it stands still: its attachment was not answered in 0.3 s", e.Message);

        using var cancelled = new CancellationTokenSource(s_short);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => RunAsync(libblkio, s_hung * 2, silent, cancelled.Token));
    }

    /// <summary>
    /// It stops while the load runs, and neither answers what is in flight nor lets the driver go. The patience has to last for
    /// an attachment.
    /// </summary>
    [Fact]
    public async Task A_back_end_that_stops_under_load_ends_the_run()
    {
        Task<LoadResult> run = RunAsync(libblkio: true, s_short * 20, Socket, CancellationToken.None, _ => StopDaemon());
        TimeoutException e = await Assert.ThrowsAsync<TimeoutException>(() => run);
        Assert.Contains("answered in ", e.Message, StringComparison.Ordinal);
    }

    /// <summary>Whoever breaks it off does not wait for what a target owes that stands still.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_run_on_a_back_end_that_stopped_can_be_broken_off(bool libblkio)
    {
        using var cancelled = new CancellationTokenSource();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => RunAsync(libblkio, s_hung * 2, Socket, cancelled.Token, onMeasuring: _ =>
        {
            StopDaemon();
            cancelled.Cancel();
        }));
    }

    private static Task<LoadResult> RunAsync(bool libblkio, TimeSpan patience, string socket, CancellationToken cancellation, Action<bool>? onMeasuring = null)
    {
        var load = new VhostUserLoad(libblkio ? new BlkioDriver() : new BuiltInDriver()) { Patience = patience };
        var settings = new LoadSettings(TimeSpan.FromMilliseconds(50), TimeSpan.FromSeconds(1), [], 5);
        return Task.Run(() => load.RunAsync(new VhostUserEndpoint(socket, 1, DiskBytes), Presets.Quick[0], settings, onMeasuring ?? (_ => { }), cancellation)).WaitAsync(s_hung);
    }
}
