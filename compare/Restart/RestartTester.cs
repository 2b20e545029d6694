// The target is killed with SIGKILL while it is written to, and started again by the same command. Measured is the longest time without an
// answer, counted from the last answer before the kill: it holds the time until the target is up, and the time until its consumer goes on.

using System.Diagnostics;
using System.Globalization;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Results;

namespace Polyblk.Compare.Restart;

/// <summary>Does the restart test of a running method.</summary>
internal static class RestartTester
{
    private const int EnoughCompletions = 200;
    private const int StepMs = 5;
    private static readonly TimeSpan s_before = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan s_after = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    /// <summary>Tests it; null where the method cannot be restarted or no load endures that.</summary>
    /// <exception cref="MethodException">The target did not start again: the method serves no more.</exception>
    public static async Task<RestartTest?> RunAsync(IDeliveryMethod method, IRunningMethod running, CancellationToken cancellation)
    {
        if (running is not IRestartable target || IEnduringLoad.For(running.Endpoint) is not IEnduringLoad load)
        {
            return null;
        }

        using (load)
        {
            var journal = new RestartJournal();
            bool mustStop = false;
            Task run = Task.Factory.StartNew(
                () => load.Run(journal, () => Volatile.Read(ref mustStop)), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
            var test = new RestartTest { Method = method.Name, IoErrors = 0, Detail = load.Description };
            TimeSpan gap;
            TimeSpan start;
            try
            {
                await WaitAsync(() => journal.Completions >= EnoughCompletions, s_before, run, cancellation).ConfigureAwait(false);
                journal.BeginTiming();
                await target.KillAsync().ConfigureAwait(false);
                long killed = Stopwatch.GetTimestamp();
                await target.StartAgainAsync(cancellation).ConfigureAwait(false);
                start = Stopwatch.GetElapsedTime(killed);
                long before = journal.Completions;
                await WaitAsync(() => journal.Completions >= before + EnoughCompletions, s_after, run, cancellation).ConfigureAwait(false);
                gap = journal.EndTiming();
            }
            finally
            {
                Volatile.Write(ref mustStop, true);
                await Task.WhenAny(run, Task.Delay(s_patience, CancellationToken.None)).ConfigureAwait(false);
            }

            if (!run.IsCompletedSuccessfully)
            {
                return test with { IoErrors = journal.Errors, Detail = $"the load did not go on after the restart: {run.Exception?.InnerException?.Message ?? "requests are still waiting"}" };
            }

            bool isRight = ReadBack(load, journal);
            return test with
            {
                GapMs = gap.TotalMilliseconds,
                IoErrors = journal.Errors,
                Verification = isRight ? Verification.Passed : Verification.Failed,
                Detail = string.Create(CultureInfo.InvariantCulture, $"{load.Description}; the target was ready {start.TotalMilliseconds:0} ms after it was killed"),
            };
        }
    }

    private static bool ReadBack(IEnduringLoad load, RestartJournal journal)
    {
        byte[] data = new byte[RestartJournal.BlockBytes];
        for (int block = 0; block < RestartJournal.Blocks; block++)
        {
            if (!load.Read(RestartJournal.OffsetOf(block), data) || !journal.IsRight(block, data))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Waits until enough was answered, and at least a while.</summary>
    private static async Task WaitAsync(Func<bool> isEnough, TimeSpan least, Task run, CancellationToken cancellation)
    {
        for (var wait = Stopwatch.StartNew(); (wait.Elapsed < least || !isEnough()) && !run.IsCompleted && wait.Elapsed < s_patience;)
        {
            await Task.Delay(StepMs, cancellation).ConfigureAwait(false);
        }
    }
}
