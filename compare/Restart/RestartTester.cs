// The target is killed with SIGKILL while it is written to, and started again by the same command. Measured is the longest time
// without an answer, counted from the last answer before the kill: it holds the time until the target is up, and the time until
// its consumer goes on.
//
// A target that does not come back is the worst outcome, not a test that could not be made: what goes wrong after the kill is a
// result (DidNotComeBack). A load whose requests nobody answers may go on for ever; its memory is given back when it ends, and
// not before.

using System.Diagnostics;
using System.Globalization;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Results;

namespace Polyblk.Compare.Restart;

/// <summary>Does the restart test of a running method.</summary>
/// <param name="patience">How long the target may answer nothing after its restart, and the load may take to end.</param>
internal sealed class RestartTester(TimeSpan patience)
{
    private const int EnoughCompletions = 200;
    private const int StepMs = 5;
    private static readonly TimeSpan s_before = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan s_after = TimeSpan.FromMilliseconds(200);

    public RestartTester()
        : this(RestartPatience.Whole)
    {
    }

    /// <summary>Tests it; null where the method cannot be restarted or no load endures that.</summary>
    /// <exception cref="MethodException">It could not be tested: the target was not killed.</exception>
    /// <exception cref="IOException">The same.</exception>
    public async Task<RestartTest?> RunAsync(IDeliveryMethod method, IRunningMethod running, CancellationToken cancellation) =>
        running is IRestartable target && IEnduringLoad.For(running.Endpoint) is IEnduringLoad load
            ? await RunAsync(method.Name, target, load, cancellation).ConfigureAwait(false)
            : null;

    /// <summary>Tests a target with a load, which is disposed when it has ended.</summary>
    /// <inheritdoc cref="RunAsync(IDeliveryMethod, IRunningMethod, CancellationToken)"/>
    internal async Task<RestartTest> RunAsync(string name, IRestartable target, IEnduringLoad load, CancellationToken cancellation)
    {
        var journal = new RestartJournal();
        bool mustStop = false;
        Task run = Task.Factory.StartNew(
            () => load.Run(journal, () => Volatile.Read(ref mustStop)), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        Task last = run;
        var test = new RestartTest { Method = name, IoErrors = 0, Detail = load.Description };
        try
        {
            (TimeSpan gap, TimeSpan start, string? failure) = await KillAsync(target, journal, run, cancellation).ConfigureAwait(false);
            Volatile.Write(ref mustStop, true);
            string? whyNotEnded = await WhyNotEndedAsync(run).ConfigureAwait(false);
            failure ??= whyNotEnded;
            if (failure is not null)
            {
                return test with { DidNotComeBack = true, IoErrors = journal.Errors, Detail = failure };
            }

            Task<bool> reading = Task.Run(() => ReadBack(load, journal), CancellationToken.None);
            last = reading;
            if (await WhyNotEndedAsync(reading).ConfigureAwait(false) is string unreadable)
            {
                return test with { DidNotComeBack = true, IoErrors = journal.Errors, Detail = $"what was written cannot be read: {unreadable}" };
            }

            return test with
            {
                GapMs = gap.TotalMilliseconds,
                IoErrors = journal.Errors,
                Verification = await reading.ConfigureAwait(false) ? Verification.Passed : Verification.Failed,
                Detail = string.Create(CultureInfo.InvariantCulture, $"{load.Description}; the target was ready {start.TotalMilliseconds:0} ms after it was killed"),
            };
        }
        catch
        {
            Volatile.Write(ref mustStop, true);
            await WhyNotEndedAsync(run).ConfigureAwait(false);
            throw;
        }
        finally
        {
            if (last.IsCompleted)
            {
                load.Dispose();
            }
            else
            {
                _ = last.ContinueWith(_ => load.Dispose(), CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
            }
        }
    }

    /// <summary>
    /// Kills the target under load and starts it again. Returns the gap, the time until it was ready, and what went wrong after
    /// the kill.
    /// </summary>
    private async Task<(TimeSpan Gap, TimeSpan Start, string? Failure)> KillAsync(IRestartable target, RestartJournal journal, Task run, CancellationToken cancellation)
    {
        await WaitAsync(() => journal.Completions >= EnoughCompletions, s_before, run, cancellation).ConfigureAwait(false);
        if (run.IsCompleted || journal.Completions == 0)
        {
            throw new IOException($"the load did not run: {run.Exception?.InnerException?.Message ?? "nothing was answered"}");
        }

        journal.BeginTiming();
        await target.KillAsync().ConfigureAwait(false);
        long killed = Stopwatch.GetTimestamp();
        try
        {
            await target.StartAgainAsync(cancellation).ConfigureAwait(false);
        }
        catch (Exception e) when (e is MethodException or IOException)
        {
            return (default, default, $"it did not start again: {e.Message}");
        }

        TimeSpan start = Stopwatch.GetElapsedTime(killed);
        long before = journal.Completions;
        await WaitAsync(() => journal.Completions >= before + EnoughCompletions, s_after, run, cancellation).ConfigureAwait(false);
        string? failure = journal.Completions == before ? string.Create(CultureInfo.InvariantCulture, $"it started again, but answered nothing in {patience.TotalSeconds:0} s") : null;
        return (journal.EndTiming(), start, failure);
    }

    /// <summary>Waits until a part of the load has ended. Returns why it did not, or how it failed.</summary>
    private async Task<string?> WhyNotEndedAsync(Task part)
    {
        await Task.WhenAny(part, Task.Delay(patience, CancellationToken.None)).ConfigureAwait(false);
        return part.IsCompletedSuccessfully ? null : part.Exception?.InnerException?.Message ?? "requests are still waiting";
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
    private async Task WaitAsync(Func<bool> isEnough, TimeSpan least, Task run, CancellationToken cancellation)
    {
        for (var wait = Stopwatch.StartNew(); (wait.Elapsed < least || !isEnough()) && !run.IsCompleted && wait.Elapsed < patience;)
        {
            await Task.Delay(StepMs, cancellation).ConfigureAwait(false);
        }
    }
}
