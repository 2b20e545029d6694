using Polyblk.Simulation.Tests.Lives;

namespace Polyblk.Simulation.Tests.Soak;

/// <summary>Which seeds are lived: the n-th from a first one on, of all levels or of one.</summary>
/// <param name="First">The first seed of all levels.</param>
/// <param name="Level">The only level, as its index; null for all of them in turn.</param>
internal readonly record struct SoakSeeds(ulong First, int? Level)
{
    private static ulong LevelCount => (ulong)LifePlan.LevelCount;

    /// <summary>The n-th seed.</summary>
    public ulong this[ulong index] => Level is not { } level
        ? First + index
        : First + (((ulong)level + LevelCount - (First % LevelCount)) % LevelCount) + (index * LevelCount);

    /// <summary>The level that a seed lives on, as its index.</summary>
    public static int LevelOf(ulong seed) => (int)(seed % LevelCount);
}
