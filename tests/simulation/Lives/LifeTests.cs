using System.Globalization;

namespace Polyblk.Simulation.Tests.Lives;

/// <summary>
/// Lives by seeds. POLYBLK_SIM_SEED=n lives only that one, and POLYBLK_SIM_TRACE=file writes down all that happens in it;
/// POLYBLK_SIM_LIVES=n lives n for each level, POLYBLK_SIM_FIRST=n from seed n on.
/// </summary>
public sealed class LifeTests
{
    /// <summary>Of all levels together.</summary>
    private const ulong LivesInAll = 20_000;

    public static TheoryData<int> Levels => [.. Enumerable.Range(0, LifePlan.LevelCount)];

    private static ulong? OnlySeed => Read("POLYBLK_SIM_SEED");

    [Theory]
    [MemberData(nameof(Levels))]
    public void What_was_flushed_survives_and_members_agree(int level)
    {
        // Seeds follow each other in steps of the levels: from one that is the first level's on.
        ulong levels = (ulong)LifePlan.LevelCount;
        if (OnlySeed is { } only)
        {
            _ = only % levels == (ulong)level ? Live(only) : default;
            return;
        }

        ulong lives = Read("POLYBLK_SIM_LIVES") ?? (LivesInAll + levels - 1) / levels;
        ulong first = ((Read("POLYBLK_SIM_FIRST") ?? 0) + levels - 1) / levels * levels;
        var batch = new LifeBatch(first + (ulong)level, levels, lives);
        string? lost = batch.Run();
        Console.WriteLine(
            $"{batch.Lived} lives of {LifePlan.LevelNames.ElementAt(level)}, "
            + $"{batch.Lived / batch.Time.TotalMinutes:0} a minute of one processor: {batch.Counts}");
        Assert.True(lost is null, lost);
    }

    /// <summary>The same seed is the same life, to the last event.</summary>
    [Theory]
    [MemberData(nameof(Levels))]
    public void A_seed_is_one_life(int level)
    {
        for (ulong i = 0; i < 6; i++)
        {
            ulong seed = 1_000_000 + (i * (ulong)LifePlan.LevelCount) + (ulong)level;
            Assert.Equal(Live(seed), Live(seed));
        }
    }

    private static (long Events, long Traced, ulong Hash) Live(ulong seed)
    {
        string? path = Environment.GetEnvironmentVariable("POLYBLK_SIM_TRACE");
        using StreamWriter? log = path is null ? null : new StreamWriter(path);
        using var life = new Life(seed, log);
        try
        {
            life.Run();
        }
        catch (Exception e)
        {
            Assert.Fail(life.Describe(e));
        }

        return (life.Events, life.Trace.Count, life.Trace.Hash);
    }

    private static ulong? Read(string name) =>
        Environment.GetEnvironmentVariable(name) is { Length: > 0 } text ? ulong.Parse(text, CultureInfo.InvariantCulture) : null;
}
