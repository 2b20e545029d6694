// How times are put into buckets.
//
// A step is a sixteenth of a microsecond. Below a microsecond a bucket is one step; each further power of two of microseconds is
// divided into sixteen, up to 134 s, and the last bucket has what is beyond. So a time is known to a sixteenth of itself, and to
// 62.5 ns where it is short. A bucket has its upper bound in it and not its lower one, as Prometheus' have ("le"), and every
// power of two of microseconds is a bound: sums of buckets up to there are exact.

using System.Numerics;
using System.Runtime.CompilerServices;

namespace Polyblk.Core.Metering;

/// <summary>Buckets of times: log-linear, sixteen for each power of two.</summary>
public static class LatencyScale
{
    /// <summary>Number of buckets.</summary>
    public const int Buckets = (Powers + 1) * PerPower;

    /// <summary>Log2 of the longest bound in microseconds: 134 s. The last bucket has it for its bound, and no bound.</summary>
    public const int Powers = 27;

    /// <summary>Buckets of each power of two.</summary>
    public const int PerPower = 1 << PerPowerShift;

    private const int PerPowerShift = 4;

    // A step is 125/2 ns.
    private const ulong TwoSteps = 125;

    /// <summary>The bucket of a time in nanoseconds; what is not above 0 is in the first one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int IndexOf(long ns)
    {
        ulong step = ns <= 0 ? 0 : ((ulong)ns - 1) * 2 / TwoSteps;
        if (step < PerPower)
        {
            return (int)step;
        }

        int shift = BitOperations.Log2(step) - PerPowerShift;
        return shift >= Powers ? Buckets - 1 : ((shift + 1) << PerPowerShift) + ((int)(step >> shift) & (PerPower - 1));
    }

    /// <summary>The longest time of a bucket, in whole nanoseconds.</summary>
    public static long UpperNs(int index)
    {
        int power = index >> PerPowerShift;
        long steps = power == 0 ? index + 1L : (long)(PerPower + (index & (PerPower - 1)) + 1) << (power - 1);
        return ((steps * (long)TwoSteps) + 1) / 2;
    }

    /// <summary>
    /// The last bucket with times of at most so many microseconds, as a power of two: 0 to <see cref="Powers"/>.
    /// </summary>
    public static int LastUpTo(int powerOfTwoUs) => ((powerOfTwoUs + 1) << PerPowerShift) - 1;
}
