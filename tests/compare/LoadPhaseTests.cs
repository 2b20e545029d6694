using Polyblk.Compare.Load;

namespace Polyblk.Compare.Tests;

/// <summary>How long the counted time of a run is.</summary>
public sealed class LoadPhaseTests
{
    private static readonly LoadSettings s_short = new(TimeSpan.Zero, TimeSpan.FromMilliseconds(10), [], 1);
    private static readonly Task s_noneFailed = new TaskCompletionSource().Task;

    [Fact]
    public async Task BothPhasesGoOnUntilAsMuchIsAnsweredAsIsInFlight()
    {
        long answered = 0;
        var phase = new LoadPhase();
        var told = new List<bool>();
        Task<double> run = phase.LeadAsync(s_short, 2, () => Volatile.Read(ref answered), told.Add, s_noneFailed, CancellationToken.None);
        await Task.Delay(100);
        Interlocked.Increment(ref answered);
        await Task.Delay(100);
        Assert.False(phase.IsCounting);
        Interlocked.Increment(ref answered);
        while (!phase.IsCounting)
        {
            await Task.Delay(1);
        }

        await Task.Delay(150);
        Assert.False(run.IsCompleted);
        Interlocked.Add(ref answered, 2);
        Assert.InRange(await run, 0.1, 60);
        Assert.True(phase.IsEnding);
        Assert.Equal([true, false], told);
    }

    [Theory]
    [InlineData(0, false)]
    [InlineData(1, true)]
    public async Task ATargetThatAnswersNothingIsNoResultAndASlowOneIs(int each, bool isResult)
    {
        // At each look one more is answered, or none; a thousand are in flight.
        long answered = 0;
        var phase = new LoadPhase { Patience = TimeSpan.FromMilliseconds(100) };
        Task<double> run = phase.LeadAsync(s_short, 1000, () => answered += each, _ => { }, s_noneFailed, CancellationToken.None);
        if (isResult)
        {
            Assert.InRange(await run, 0.05, 60);
        }
        else
        {
            Assert.StartsWith("Nothing was answered in 0.", (await Assert.ThrowsAsync<TimeoutException>(() => run)).Message, StringComparison.Ordinal);
        }

        Assert.True(phase.IsEnding);
    }

    [Fact]
    public async Task ARunWhoseThreadsHaveFailedIsNotWaitedFor()
    {
        // What failed is told by the threads.
        double seconds = await new LoadPhase().LeadAsync(s_short with { Duration = TimeSpan.FromMinutes(1) }, 1, () => 0, _ => { }, Task.CompletedTask, CancellationToken.None);
        Assert.InRange(seconds, 0, 30);
    }

    [Fact]
    public async Task ACancelledRunIsNone()
    {
        using var cancelled = new CancellationTokenSource(TimeSpan.FromMilliseconds(50));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => new LoadPhase().LeadAsync(s_short, 1, () => 0, _ => { }, s_noneFailed, cancelled.Token));
    }
}
