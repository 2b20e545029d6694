namespace Polyblk.Host.State;

/// <summary>How long the members of a volume have to answer; null leaves what is.</summary>
/// <param name="SlowRead">After how many seconds others are read in a member's place: 1 to <see cref="MostSlowSeconds"/>.</param>
/// <param name="DriveTimeout">After how many seconds it is out: 0 never, or 1 to <see cref="MostSeconds"/>.</param>
public readonly record struct Patience(int? SlowRead, int? DriveTimeout)
{
    /// <summary>A minute: so long others' superblocks, and stops, wait for it, too.</summary>
    public const int MostSlowSeconds = 60;

    /// <summary>An hour.</summary>
    public const int MostSeconds = 3600;

    /// <summary>After how many seconds others are read where nothing is said.</summary>
    public const int UsualSlowSeconds = 10;

    /// <summary>After how many it is out.</summary>
    public const int UsualSeconds = 30;

    /// <summary>Whether both are in their ranges.</summary>
    public bool IsPossible =>
        SlowRead is null or (>= 1 and <= MostSlowSeconds) && DriveTimeout is null or (>= 0 and <= MostSeconds);

    /// <summary>Whether it says anything.</summary>
    public bool SaysSomething => (SlowRead ?? DriveTimeout) is not null;
}
