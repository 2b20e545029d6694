namespace Polyblk.Compare.Measurement;

/// <summary>What was read in a part of the counted time, brought to all of it.</summary>
internal static class PartOfTime
{
    /// <summary>
    /// Of the counted time. On a host that is too busy to read at the right moments, beginning and end of a reading come
    /// together: what lies between them, multiplied, would be no figure of the run.
    /// </summary>
    private const double SmallestShare = 1.0 / 3;

    /// <summary>
    /// What a reading is multiplied with; null where its part of the time is too small to say anything of all of it.
    /// </summary>
    public static double? Scale(TimeSpan part, double countedSeconds) =>
        part > TimeSpan.Zero && part.TotalSeconds >= countedSeconds * SmallestShare ? countedSeconds / part.TotalSeconds : null;
}
