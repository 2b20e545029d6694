namespace Polyblk.Simulation.Tests.Lives;

/// <summary>What a life met, or several of them.</summary>
internal readonly record struct LifeCounts
{
    /// <summary>How many numbers there are.</summary>
    public const int Length = 13;

    /// <summary>Losses of power.</summary>
    public int PowerCuts { get; init; }

    /// <summary>Kills of the target's process.</summary>
    public int Kills { get; init; }

    /// <summary>New drives in the place of lost ones, or of ones that work.</summary>
    public int Replacements { get; init; }

    /// <summary>Members that were whole again after a rebuild: of a new drive, a spare, or one that came back.</summary>
    public int Rebuilds { get; init; }

    /// <summary>Drives that were added: reshapes that began.</summary>
    public int Reshapes { get; init; }

    /// <summary>Times that a member had a place more that it could not write, and stayed.</summary>
    public int BadPlaces { get; init; }

    /// <summary>Members that were given up because they did not answer.</summary>
    public int TimedOut { get; init; }

    /// <summary>Events of members that returned something else than what was written.</summary>
    public int Corruptions { get; init; }

    /// <summary>Ends, by either way, in a resync.</summary>
    public int InResync { get; init; }

    /// <summary>Ends in a rebuild.</summary>
    public int InRebuild { get; init; }

    /// <summary>Ends while a drive that works was replaced.</summary>
    public int InReplacement { get; init; }

    /// <summary>Ends in a reshape.</summary>
    public int InReshape { get; init; }

    /// <summary>Ends in a scrub.</summary>
    public int InScrub { get; init; }

    /// <summary>Ends in the place of some event.</summary>
    public int CrashPoints => PowerCuts + Kills;

    /// <summary>All numbers, in one order.</summary>
    public int[] ToArray() =>
    [
        PowerCuts, Kills, Replacements, Rebuilds, Reshapes, BadPlaces, TimedOut, Corruptions, InResync, InRebuild, InReplacement,
        InReshape, InScrub,
    ];

    /// <summary>The counts of <see cref="Length"/> numbers in that order.</summary>
    public static LifeCounts Of(IReadOnlyList<int> numbers) => new()
    {
        PowerCuts = numbers[0],
        Kills = numbers[1],
        Replacements = numbers[2],
        Rebuilds = numbers[3],
        Reshapes = numbers[4],
        BadPlaces = numbers[5],
        TimedOut = numbers[6],
        Corruptions = numbers[7],
        InResync = numbers[8],
        InRebuild = numbers[9],
        InReplacement = numbers[10],
        InReshape = numbers[11],
        InScrub = numbers[12],
    };

    public static LifeCounts operator +(LifeCounts a, LifeCounts b) => Of([.. a.ToArray().Zip(b.ToArray(), (x, y) => x + y)]);
}
