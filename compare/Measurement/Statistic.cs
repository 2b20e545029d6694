namespace Polyblk.Compare.Measurement;

/// <summary>Statistics over the rounds of a measurement.</summary>
public static class Statistic
{
    /// <summary>The median; the mean of the middle two for an even number. NaN for none.</summary>
    public static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        int middle = sorted.Length / 2;
        return sorted.Length == 0 ? double.NaN
            : sorted.Length % 2 == 1 ? sorted[middle]
            : (sorted[middle - 1] + sorted[middle]) / 2;
    }

    /// <summary>How far the rounds lie apart: (maximum - minimum) / median. 0 for one value, NaN for none or a median of 0.</summary>
    public static double Spread(IReadOnlyCollection<double> values)
    {
        double median = Median(values);
        return values.Count == 0 || median == 0 ? double.NaN : (values.Max() - values.Min()) / Math.Abs(median);
    }

    /// <summary>
    /// The median of the ratios of each round to the baseline's same round: what slows a whole round down cancels out. NaN when there is no
    /// round of both.
    /// </summary>
    public static double PairedRatio(IReadOnlyList<double> values, IReadOnlyList<double> baseline)
    {
        ArgumentNullException.ThrowIfNull(values);
        ArgumentNullException.ThrowIfNull(baseline);
        int rounds = Math.Min(values.Count, baseline.Count);
        return Median(Enumerable.Range(0, rounds).Where(i => baseline[i] > 0).Select(i => values[i] / baseline[i]));
    }
}
