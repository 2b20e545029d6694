using System.Globalization;

namespace Polyblk.Simulation.Tests.Lives;

/// <summary>
/// Lives by seeds. POLYBLK_SIM_SEED=n lives only that one, and POLYBLK_SIM_TRACE=file writes down all that happens in it;
/// POLYBLK_SIM_LIVES=n lives n for each level, POLYBLK_SIM_FIRST=n from seed n on.
/// </summary>
public sealed class LifeTests
{
    private const int LivesPerLevel = 100;

    public static TheoryData<int> Levels => [.. Enumerable.Range(0, LifePlan.LevelCount)];

    private static ulong? OnlySeed => Read("POLYBLK_SIM_SEED");

    [Theory]
    [MemberData(nameof(Levels))]
    public void What_was_flushed_survives_and_members_agree(int level)
    {
        ulong lives = Read("POLYBLK_SIM_LIVES") ?? LivesPerLevel;

        // Seeds follow each other in steps of the levels: from one that is the first level's on.
        ulong levels = (ulong)LifePlan.LevelCount;
        ulong first = ((Read("POLYBLK_SIM_FIRST") ?? 0) + levels - 1) / levels * levels;
        TimeSpan before = ThreadTime();
        for (ulong i = 0; i < lives; i++)
        {
            ulong seed = first + (i * levels) + (ulong)level;
            if ((OnlySeed ?? seed) % levels == (ulong)level)
            {
                Live(OnlySeed ?? seed, i);
            }

            if (OnlySeed is not null)
            {
                return;
            }
        }

        Console.WriteLine($"{lives} lives, {lives / (ThreadTime() - before).TotalMinutes:0} a minute of one processor.");
    }

    /// <summary>The same seed is the same life, to the last event.</summary>
    [Theory]
    [MemberData(nameof(Levels))]
    public void A_seed_is_one_life(int level)
    {
        for (ulong i = 0; i < 6; i++)
        {
            ulong seed = 1_000_000 + (i * (ulong)LifePlan.LevelCount) + (ulong)level;
            Assert.Equal(Live(seed, i), Live(seed, i));
        }
    }

    private static (long Events, long Traced, ulong Hash) Live(ulong seed, ulong livesBefore)
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
            Assert.Fail($"After {livesBefore} lives: {life.Describe(e)}");
        }

        return (life.Events, life.Trace.Count, life.Trace.Hash);
    }

    /// <summary>What the calling thread has used.</summary>
    private static TimeSpan ThreadTime()
    {
        // The fields behind the name, which may hold blanks: user and system time are the 14th and 15th of all, in hundredths of
        // a second.
        string stat = File.ReadAllText("/proc/thread-self/stat");
        string[] fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
        long ticks = long.Parse(fields[11], CultureInfo.InvariantCulture) + long.Parse(fields[12], CultureInfo.InvariantCulture);
        return TimeSpan.FromMilliseconds(ticks * 10);
    }

    private static ulong? Read(string name) =>
        Environment.GetEnvironmentVariable(name) is { Length: > 0 } text ? ulong.Parse(text, CultureInfo.InvariantCulture) : null;
}
