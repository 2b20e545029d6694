namespace Polyblk.Simulation.Tests.Lives;

/// <summary>What a life met, or several of them.</summary>
/// <param name="PowerCuts">Losses of power.</param>
/// <param name="Kills">Kills of the target's process.</param>
/// <param name="Replacements">New drives in the place of lost ones, or of ones that work.</param>
/// <param name="Rebuilds">Members that were whole again after a rebuild: of a new drive, a spare, or one that came back.</param>
/// <param name="Reshapes">Drives that were added: reshapes that began.</param>
/// <param name="BadPlaces">Times that a member had a place more that it could not write, and stayed.</param>
/// <param name="TimedOut">Members that were given up because they did not answer.</param>
/// <param name="Corruptions">Events of members that returned something else than what was written.</param>
internal readonly record struct LifeCounts(
    int PowerCuts, int Kills, int Replacements, int Rebuilds, int Reshapes, int BadPlaces, int TimedOut, int Corruptions)
{
    /// <summary>Ends in the place of some event.</summary>
    public int CrashPoints => PowerCuts + Kills;

    public static LifeCounts operator +(LifeCounts a, LifeCounts b) =>
        new(
            a.PowerCuts + b.PowerCuts,
            a.Kills + b.Kills,
            a.Replacements + b.Replacements,
            a.Rebuilds + b.Rebuilds,
            a.Reshapes + b.Reshapes,
            a.BadPlaces + b.BadPlaces,
            a.TimedOut + b.TimedOut,
            a.Corruptions + b.Corruptions);
}
