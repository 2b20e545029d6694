namespace Polyblk.Compare.Results;

/// <summary>One figure over the rounds: its median, and how far apart the rounds were.</summary>
/// <param name="Median">Middle value; with an even count the mean of the two in the middle.</param>
/// <param name="Minimum">Least.</param>
/// <param name="Maximum">Greatest.</param>
/// <param name="Count">Rounds that have the figure; at least 1.</param>
public readonly record struct Sample(double Median, double Minimum, double Maximum, int Count)
{
    /// <summary>(maximum - minimum) / median; null when one round cannot tell, or the median is 0.</summary>
    public double? Spread => Count < 2 || Median == 0 ? null : (Maximum - Minimum) / Median;

    /// <summary>Summarizes the values that are there; null when none is.</summary>
    public static Sample? Of(IEnumerable<double?> values)
    {
        double[] sorted = [.. values.Where(v => v is double d && double.IsFinite(d)).Select(v => v!.Value).Order()];
        if (sorted.Length == 0)
            return null;
        int middle = sorted.Length / 2;
        double median = sorted.Length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
        return new Sample(median, sorted[0], sorted[^1], sorted.Length);
    }

    /// <summary>
    /// The ratios of two methods, taken within each round that both have and then summarized: what changes slowly on the machine
    /// touches both runs of a round and cancels out, which the ratio of two medians does not give.
    /// </summary>
    public static Sample? OfRatios(IEnumerable<(int Round, double Value)> numerators, IEnumerable<(int Round, double Value)> denominators) =>
        Of(numerators.Join(
            denominators,
            n => n.Round,
            d => d.Round,
            (n, d) => d.Value > 0 ? (double?)(n.Value / d.Value) : null));
}
