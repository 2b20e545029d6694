using Polyblk.Compare.Load;
using Polyblk.Fakes;

namespace Polyblk.Compare.Tests;

/// <summary>How long the counted time of a run is.</summary>
public sealed class LoadPhaseTests
{
    private static readonly LoadSettings s_short = new(TimeSpan.Zero, TimeSpan.FromMilliseconds(20), [], 1);
    private static readonly Task s_noneFailed = new TaskCompletionSource().Task;
    private readonly ManualTime _time = new();

    [Fact]
    public async Task BothPhasesGoOnUntilAsMuchIsAnsweredAsIsInFlight()
    {
        long answered = 0;
        var phase = new LoadPhase { Clock = _time };
        var told = new List<bool>();
        Task<double> run = phase.LeadAsync(s_short, 2, () => answered, told.Add, s_noneFailed, CancellationToken.None);
        await PassAsync(run, 5000);
        answered++;
        await PassAsync(run, 5000);
        Assert.False(phase.IsCounting);
        answered++;
        await PassAsync(run, 20);
        Assert.True(phase.IsCounting);
        await PassAsync(run, 4980);
        Assert.False(run.IsCompleted);
        answered += 2;
        await PassAsync(run, 20);
        Assert.Equal(5, await run.WaitAsync(TimeSpan.FromMinutes(1)), 1e-6);
        Assert.True(phase.IsEnding);
        Assert.Equal([true, false], told);
    }

    [Fact]
    public async Task ATargetThatAnswersNothingIsNoResult()
    {
        var phase = new LoadPhase { Clock = _time, Patience = TimeSpan.FromMilliseconds(400) };
        Task<double> run = phase.LeadAsync(s_short, 1000, () => 0, _ => { }, s_noneFailed, CancellationToken.None);
        await PassAsync(run, 380);
        Assert.False(run.IsCompleted);
        await PassAsync(run, 20);
        Assert.Equal("Nothing was answered in 0.4 s.", (await Assert.ThrowsAsync<TimeoutException>(() => run)).Message);
        Assert.True(phase.IsEnding);
    }

    [Fact]
    public async Task ASlowOneIsAResult()
    {
        // At each look one more is answered; a thousand are in flight.
        long answered = 0;
        var phase = new LoadPhase { Clock = _time, Patience = TimeSpan.FromMilliseconds(400) };
        Task<double> run = phase.LeadAsync(s_short, 1000, () => answered++, _ => { }, s_noneFailed, CancellationToken.None);
        await PassAsync(run, 380);
        Assert.False(phase.IsCounting);
        await PassAsync(run, 20);
        Assert.True(phase.IsCounting);
        await PassAsync(run, 400);
        Assert.Equal(0.4, await run.WaitAsync(TimeSpan.FromMinutes(1)), 1e-6);
        Assert.True(phase.IsEnding);
    }

    [Fact]
    public async Task ARunWhoseThreadsHaveFailedIsNotWaitedFor()
    {
        // What failed is told by the threads.
        var phase = new LoadPhase { Clock = _time };
        LoadSettings minute = s_short with { Duration = TimeSpan.FromMinutes(1) };
        Assert.Equal(0, await phase.LeadAsync(minute, 1, () => 0, _ => { }, Task.CompletedTask, CancellationToken.None));
    }

    [Fact]
    public async Task ACancelledRunIsNone()
    {
        using var cancelled = new CancellationTokenSource();
        Task<double> run = new LoadPhase { Clock = _time }.LeadAsync(s_short, 1, () => 0, _ => { }, s_noneFailed, cancelled.Token);
        await PassAsync(run, 100);
        Assert.False(run.IsCompleted);
        await cancelled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => run);
    }

    /// <summary>Lets time pass in steps that are no longer than those of a phase, which sees each of them.</summary>
    private async Task PassAsync(Task run, int milliseconds)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(1));
        for (int i = 0; i < milliseconds; i += 10)
        {
            _time.Advance(TimeSpan.FromMilliseconds(10));
            while (_time.Waiting == 0 && !run.IsCompleted)
            {
                await Task.Delay(1, limit.Token);
            }
        }
    }
}
