namespace Polyblk.Fakes;

/// <summary>
/// What work allocates when it is warm. What the runtime allocates once, at whatever moment (statics of a type, a method that is
/// compiled anew), is not the work's; what the work allocates, it allocates in every run.
/// </summary>
public static class SteadyAllocation
{
    /// <summary>On a busy host methods are compiled anew one by one over many runs: three have been seen not to be enough.</summary>
    private const int Runs = 12;

    /// <summary>
    /// Bytes that this thread allocates in a run: the least of several, of which those after one without any are left out.
    /// </summary>
    public static long Measure(Action run)
    {
        ArgumentNullException.ThrowIfNull(run);
        long least = long.MaxValue;
        for (int i = 0; i < Runs && least != 0; i++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            run();
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        return least;
    }

    /// <summary>
    /// The same of runs that measure themselves; one that returns a negative number has failed and is the result.
    /// </summary>
    public static async Task<long> MeasureAsync(Func<Task<long>> run)
    {
        ArgumentNullException.ThrowIfNull(run);
        long least = long.MaxValue;
        for (int i = 0; i < Runs && least > 0; i++)
        {
            least = Math.Min(least, await run());
        }

        return least;
    }
}
