using System.Net.Sockets;
using Polyblk.Compare.Load;
using Polyblk.Compare.Load.Fio;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Workloads;
using Polyblk.Core.Interop;

namespace Polyblk.Compare.Tests;

/// <summary>Programs that do not end because nobody answers them.</summary>
public sealed class StandingStillTests : IDisposable
{
    private readonly string _place = Directory.CreateTempSubdirectory("polyblk-still-").FullName;

    public void Dispose() => Directory.Delete(_place, recursive: true);

    [Fact]
    public async Task Fio_on_a_target_that_never_answers_is_given_up_and_the_method_serves_no_more()
    {
        Assert.NotNull(ProgramPath.TryFind("fio"));
        using ScratchSpace scratch = ScratchSpace.Create(_place, 17 << 20, 1, 1, [0], [0]);
        FioProgram fio = (await FioProgram.TryFindAsync(scratch.PathOf("start"), CancellationToken.None))!;
        using var silent = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        silent.Bind(new UnixDomainSocketEndPoint(scratch.PathOf("silent.sock")));
        silent.Listen(16);
        var load = new FioLoad(fio, scratch, TimeSpan.FromSeconds(0.3));
        var endpoint = new NbdEndpoint(scratch.PathOf("silent.sock"), "v", 1 << 20);
        var settings = new LoadSettings(TimeSpan.FromSeconds(0.05), TimeSpan.FromSeconds(0.1), [], 1);
        MethodException e = await Assert.ThrowsAsync<MethodException>(() => load.RunAsync(endpoint, Presets.Quick[0], settings, _ => { }, CancellationToken.None));
        Assert.True(e.IsFinal);
        Assert.StartsWith("it stands still: fio did not end within 0.", e.Message, StringComparison.Ordinal);
        Assert.Contains("fio did not end within", await load.VerifyAsync(endpoint, 1, CancellationToken.None), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_program_that_ends_in_time_is_not_cut_off_and_its_end_is_told_apart_from_a_cancellation()
    {
        await using ChildProcess quick = ChildProcess.Start(["echo", "done"], []);
        Assert.Equal((0, "done\n"), await quick.FinishAsync(TimeSpan.FromMinutes(1), CancellationToken.None));
        Assert.Equal("its server has ended with exit code 0", quick.WhyEnded);
        await using ChildProcess slow = ChildProcess.Start(["sleep", "60"], []);
        Assert.Null(slow.WhyEnded);
        await Assert.ThrowsAsync<TimeoutException>(() => slow.FinishAsync(TimeSpan.FromMilliseconds(20), CancellationToken.None));
        using var cancelled = new CancellationTokenSource(TimeSpan.FromMilliseconds(20));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => slow.FinishAsync(TimeSpan.FromMinutes(1), cancelled.Token));
        await slow.KillAsync();
        Assert.Equal("its server has ended with exit code 137", slow.WhyEnded);
    }
}
