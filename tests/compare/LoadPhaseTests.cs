using Polyblk.Compare.Load;
using Polyblk.Compare.Measurement;

namespace Polyblk.Compare.Tests;

/// <summary>How long the counted time of a run is.</summary>
public sealed class LoadPhaseTests
{
    private static readonly LoadSettings s_short = new(TimeSpan.Zero, TimeSpan.FromMilliseconds(10), [], 1);
    private static readonly Task s_noneFailed = new TaskCompletionSource().Task;

    [Fact]
    public async Task TheCountedTimeGoesOnUntilSomethingIsAnswered()
    {
        var answers = new LatencyHistogram();
        var phase = new LoadPhase();
        var told = new List<bool>();
        Task<double> run = phase.LeadAsync(s_short, [new LatencyHistogram(), answers], told.Add, s_noneFailed, CancellationToken.None);
        await Task.Delay(150);
        Assert.False(run.IsCompleted);
        Assert.True(phase.IsCounting);
        answers.Add(1);
        Assert.InRange(await run, 0.1, 60);
        Assert.True(phase.IsEnding);
        Assert.Equal([true, false], told);
    }

    [Fact]
    public async Task ATargetThatAnswersNothingIsNoResult()
    {
        var phase = new LoadPhase { Patience = TimeSpan.FromMilliseconds(100) };
        TimeoutException e = await Assert.ThrowsAsync<TimeoutException>(
            () => phase.LeadAsync(s_short, [new LatencyHistogram()], _ => { }, s_noneFailed, CancellationToken.None));
        Assert.StartsWith("Nothing was answered in 0.", e.Message, StringComparison.Ordinal);
        Assert.True(phase.IsEnding);
    }

    [Fact]
    public async Task ARunWhoseThreadsHaveFailedIsNotWaitedFor()
    {
        // What failed is told by the threads.
        double seconds = await new LoadPhase().LeadAsync(s_short with { Duration = TimeSpan.FromMinutes(1) }, [new LatencyHistogram()], _ => { }, Task.CompletedTask, CancellationToken.None);
        Assert.InRange(seconds, 0, 30);
    }

    [Fact]
    public async Task ACancelledRunIsNone()
    {
        using var cancelled = new CancellationTokenSource(TimeSpan.FromMilliseconds(50));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => new LoadPhase().LeadAsync(s_short, [new LatencyHistogram()], _ => { }, s_noneFailed, cancelled.Token));
    }
}
