using System.Globalization;
using Polyblk.Simulation.Tests.Lives;

namespace Polyblk.Simulation.Tests.Soak;

/// <summary>What a soak has reached.</summary>
internal sealed class SoakTally
{
    private readonly Row[] _levels = [.. LifePlan.LevelNames.Select(n => new Row { Name = n })];

    /// <summary>Lives of all levels.</summary>
    public ulong Lives { get; private set; }

    /// <summary>A life was lived.</summary>
    public void Add(ulong seed, LifeCounts counts)
    {
        Row row = _levels[SoakSeeds.LevelOf(seed)];
        row.Lives++;
        row.Counts += counts;
        row.First = Math.Min(row.First, seed);
        row.Last = Math.Max(row.Last, seed);
        Lives++;
    }

    /// <summary>What was reached, a line.</summary>
    public string Summary(TimeSpan since)
    {
        LifeCounts all = _levels.Aggregate(default(LifeCounts), (sum, row) => sum + row.Counts);
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{since:hh\\:mm\\:ss}  {Lives} lives, {all.CrashPoints} crash points, {all.PowerCuts} of them losses of power, "
            + $"{all.InResync} in a resync, {all.InRebuild} in a rebuild, {all.InReplacement} in a replacement, "
            + $"{all.InReshape} in a reshape, {all.InScrub} in a scrub; {all.Replacements} replacements, "
            + $"{all.Rebuilds} rebuilds, {all.Reshapes} reshapes, {all.BadPlaces} bad places, "
            + $"{all.TimedOut} drives timed out, {all.Corruptions} drives found out by checksums, "
            + $"{Lives / Math.Max(since.TotalMinutes, 0.01):0} lives a minute");
    }

    /// <summary>What each level has reached, a line each.</summary>
    public string Table()
    {
        var lines = new List<string>
        {
            "level     lives  crash points  losses of power  replacements  rebuilds  reshapes  bad places  timed out  seeds",
        };
        lines.AddRange(_levels.Where(r => r.Lives != 0).Select(r => string.Create(
            CultureInfo.InvariantCulture,
            $"{r.Name,-7}{r.Lives,8}{r.Counts.CrashPoints,14}{r.Counts.PowerCuts,17}{r.Counts.Replacements,14}"
            + $"{r.Counts.Rebuilds,10}{r.Counts.Reshapes,10}{r.Counts.BadPlaces,12}{r.Counts.TimedOut,11}  {r.First} to {r.Last}")));
        return string.Join('\n', lines);
    }

    private sealed class Row
    {
        public required string Name { get; init; }

        public ulong Lives { get; set; }

        public LifeCounts Counts { get; set; }

        public ulong First { get; set; } = ulong.MaxValue;

        public ulong Last { get; set; }
    }
}
