namespace Polyblk.Compare.Load;

/// <summary>
/// Calls that wait for a target without a limit of their own, as a library's do. Each has a thread; one that does not return in
/// time is left behind, and its thread ends when the target does.
/// </summary>
internal static class BlockingCall
{
    /// <summary>Calls, and waits for the result.</summary>
    /// <param name="call">The call.</param>
    /// <param name="undo">What is done with a result that comes when nobody waits for it any more.</param>
    /// <param name="limit">How long it is waited for.</param>
    /// <param name="cancellation">Ends the waiting at once.</param>
    /// <exception cref="TimeoutException">It did not return in time.</exception>
    public static async Task<T> RunAsync<T>(Func<T> call, Action<T> undo, TimeSpan limit, CancellationToken cancellation)
    {
        Task<T> running = Task.Factory.StartNew(call, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        try
        {
            return await running.WaitAsync(limit, cancellation).ConfigureAwait(false);
        }
        catch (Exception)
        {
            _ = running.ContinueWith(
                late => undo(late.Result), CancellationToken.None, TaskContinuationOptions.OnlyOnRanToCompletion, TaskScheduler.Default);
            throw;
        }
    }

    /// <summary>Calls, and waits no longer than the limit; what goes wrong afterwards is nobody's concern.</summary>
    public static async Task EndAsync(Action call, TimeSpan limit)
    {
        Task running = Task.Factory.StartNew(call, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        if (await Task.WhenAny(running, Task.Delay(limit)).ConfigureAwait(false) == running)
        {
            await running.ConfigureAwait(false);
        }
    }
}
