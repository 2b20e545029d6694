// One process of a soak: lives every so-manieth seed, and says on its standard output what it begins and what came of it, a line
// each. It ends when the soak takes its standard input away.

using System.Globalization;
using Polyblk.Simulation.Tests.Lives;

namespace Polyblk.Simulation.Tests.Soak;

/// <summary>See the top of the file.</summary>
internal static class SoakJob
{
    /// <summary>A life begins: "at SEED".</summary>
    public const string At = "at";

    /// <summary>It was lived: "lived SEED COUNTS", as <see cref="LifeCounts.ToArray"/> has them.</summary>
    public const string Lived = "lived";

    /// <summary>It was lost: "lost SEED HOW".</summary>
    public const string Lost = "lost";

    /// <summary>Between the lines of how a life was lost.</summary>
    public const char LineBreak = '\x1F';

    /// <summary>Lives the seeds.</summary>
    /// <param name="args">The first seed, the level or -1, this job's number, how many jobs there are, and the most lives of all jobs.</param>
    /// <returns>The process's exit status.</returns>
    public static int Run(string[] args)
    {
        ulong[] numbers = [.. args.Where((_, i) => i != 1).Select(a => ulong.Parse(a, CultureInfo.InvariantCulture))];
        int level = int.Parse(args[1], CultureInfo.InvariantCulture);
        var seeds = new SoakSeeds(numbers[0], level < 0 ? null : level);
        var isOver = false;
        new Thread(() =>
        {
            Console.In.ReadToEnd();
            Volatile.Write(ref isOver, true);
        })
        { IsBackground = true }.Start();
        for (ulong i = numbers[1]; i < numbers[3] && !Volatile.Read(ref isOver); i += numbers[2])
        {
            Live(seeds[i]);
        }

        return 0;
    }

    private static void Live(ulong seed)
    {
        Console.WriteLine($"{At} {seed}");
        using var life = new Life(seed);
        try
        {
            life.Run();
        }
        catch (Exception e)
        {
            Console.WriteLine($"{Lost} {seed} {life.Describe(e).Replace('\n', LineBreak)}");
            return;
        }

        Console.WriteLine($"{Lived} {seed} {string.Join(' ', life.Counts.ToArray())}");
    }
}
