using Polyblk.Compare.Load;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Restart;
using Polyblk.Compare.Results;

namespace Polyblk.Compare.Tests;

/// <summary>Restart tests that end badly: with a load and a target that are played.</summary>
public sealed class RestartTesterTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(400);

    [Fact]
    public async Task A_target_that_comes_back_has_a_gap_and_right_data()
    {
        var load = new PlayedLoad();
        RestartTest test = await RunAsync(load, () => load.IsServed = true);
        Assert.True(test is { DidNotComeBack: false, GapMs: > 0, IoErrors: 0, Verification: Verification.Passed }, test.Detail);
        Assert.Equal((1, false), (load.Disposals, load.WasDisposedWhileItRan));
    }

    [Fact]
    public async Task A_target_that_does_not_start_again_did_not_come_back()
    {
        var load = new PlayedLoad();
        RestartTest test = await RunAsync(load, () => throw new MethodException("the drives are in use"));
        Assert.True(test is { DidNotComeBack: true, GapMs: null, Verification: Verification.NotRun });
        Assert.Equal("it did not start again: the drives are in use", test.Detail);
    }

    [Fact]
    public async Task A_load_whose_requests_wait_for_ever_keeps_its_memory_until_it_ends()
    {
        var load = new PlayedLoad { WaitsForEver = true };
        RestartTest test = await RunAsync(load, () => { });
        Assert.True(test is { DidNotComeBack: true, GapMs: null });
        Assert.Contains("answered nothing", test.Detail, StringComparison.Ordinal);
        Assert.Equal(0, load.Disposals);
        load.WaitsForEver = false;
        Assert.True(SpinWait.SpinUntil(() => load.Disposals == 1, TimeSpan.FromSeconds(20)));
        Assert.False(load.WasDisposedWhileItRan);
    }

    [Fact]
    public async Task A_load_that_gives_up_says_why_and_what_cannot_be_read_back_is_a_failure_too()
    {
        var gone = new PlayedLoad { Failure = "8 requests are still waiting for an answer." };
        RestartTest test = await RunAsync(gone, () => gone.IsServed = true);
        Assert.True(test is { DidNotComeBack: true, Detail: "8 requests are still waiting for an answer." }, test.Detail);

        var mute = new PlayedLoad { ReadFailure = "it did not answer after its restart." };
        test = await RunAsync(mute, () => mute.IsServed = true);
        Assert.True(test.DidNotComeBack);
        Assert.Equal("what was written cannot be read: it did not answer after its restart.", test.Detail);
        Assert.Equal((1, 1), (gone.Disposals, mute.Disposals));
    }

    [Fact]
    public async Task A_target_that_answers_nothing_beforehand_is_not_killed()
    {
        var load = new PlayedLoad { IsServed = false };
        var target = new PlayedTarget(load, () => { });
        IOException e = await Assert.ThrowsAsync<IOException>(() => new RestartTester(Patience).RunAsync("m", target, load, CancellationToken.None));
        Assert.Contains("nothing was answered", e.Message, StringComparison.Ordinal);
        Assert.False(target.WasKilled);
    }

    /// <summary>
    /// A real target that stands still with requests in its rings: the driver's thread polls them until it gives up.
    /// </summary>
    [Fact]
    public async Task A_driver_whose_requests_are_never_answered_gives_up()
    {
        string place = Directory.CreateTempSubdirectory("polyblk-restart-").FullName;
        try
        {
            using ScratchSpace scratch = ScratchSpace.Create(place, 32 << 20, 1, 1, [], []);
            await using IRunningMethod daemon = await new QemuStorageDaemon().StartAsync(scratch, CancellationToken.None);
            var target = new StoppedTarget(Assert.Single(daemon.ProcessIds));
            try
            {
                RestartTest test = await new RestartTester(TimeSpan.FromSeconds(3)).RunAsync(
                    "m", target, new EnduringVhostUser((VhostUserEndpoint)daemon.Endpoint, TimeSpan.FromMilliseconds(200)), CancellationToken.None);
                Assert.True(test is { DidNotComeBack: true, GapMs: null }, test.Detail);
            }
            finally
            {
                target.Signal("CONT");
            }
        }
        finally
        {
            Directory.Delete(place, recursive: true);
        }
    }

    private static Task<RestartTest> RunAsync(PlayedLoad load, Action startAgain) =>
        new RestartTester(Patience).RunAsync("m", new PlayedTarget(load, startAgain), load, CancellationToken.None);

    private sealed class PlayedTarget(PlayedLoad load, Action startAgain) : IRestartable
    {
        public bool WasKilled { get; private set; }

        public Task KillAsync()
        {
            (load.IsServed, WasKilled) = (false, true);
            return Task.CompletedTask;
        }

        public Task StartAgainAsync(CancellationToken cancellation)
        {
            startAgain();
            return Task.CompletedTask;
        }
    }

    /// <summary>A process that is stopped (SIGSTOP) instead of killed, and not started again.</summary>
    private sealed class StoppedTarget(int processId) : IRestartable
    {
        public Task KillAsync()
        {
            Signal("STOP");
            return Task.CompletedTask;
        }

        public Task StartAgainAsync(CancellationToken cancellation) => Task.CompletedTask;

        public void Signal(string name)
        {
            using var kill = System.Diagnostics.Process.Start("kill", [$"-{name}", $"{processId}"]);
            kill.WaitForExit();
            Assert.Equal(0, kill.ExitCode);
        }
    }

    /// <summary>One request in flight, answered while there is a server.</summary>
    private sealed class PlayedLoad : IEnduringLoad
    {
        private readonly byte[] _data = new byte[RestartJournal.Blocks * RestartJournal.BlockBytes];
        private volatile bool _isServed = true;
        private volatile bool _waitsForEver;
        private volatile bool _runs;
        private int _disposals;

        /// <summary>What is not answered when the server goes is not answered later.</summary>
        public bool IsServed
        {
            get => _isServed;
            set
            {
                lock (_data)
                {
                    _isServed = value;
                }
            }
        }

        public bool WaitsForEver { get => _waitsForEver; set => _waitsForEver = value; }

        public string? Failure { get; init; }

        public string? ReadFailure { get; init; }

        public int Disposals => Volatile.Read(ref _disposals);

        public bool WasDisposedWhileItRan { get; private set; }

        public string Description => "played";

        public void Run(RestartJournal journal, Func<bool> mustStop)
        {
            _runs = true;
            byte[] buffer = new byte[RestartJournal.BlockBytes];
            while (!mustStop() || (!_isServed && _waitsForEver))
            {
                lock (_data)
                {
                    for (int i = 0; i < 8 && _isServed; i++)
                    {
                        int block = journal.Take(buffer);
                        buffer.CopyTo(_data, RestartJournal.OffsetOf(block));
                        journal.Complete(block, isOk: true);
                    }
                }

                Thread.Sleep(1);
            }

            _runs = false;
            if (Failure is not null)
            {
                throw new IOException(Failure);
            }
        }

        public bool Read(long offsetBytes, Span<byte> buffer)
        {
            _data.AsSpan((int)offsetBytes, buffer.Length).CopyTo(buffer);
            return ReadFailure is null ? true : throw new IOException(ReadFailure);
        }

        public void Dispose()
        {
            WasDisposedWhileItRan |= _runs;
            Interlocked.Increment(ref _disposals);
        }
    }
}
