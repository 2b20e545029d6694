using Polyblk.Fuzz.Targets;

namespace Polyblk.Fuzz;

/// <summary>All targets.</summary>
public static class FuzzTargets
{
    /// <summary>They, in the order of the list that the program prints.</summary>
    public static IReadOnlyList<IFuzzTarget> All { get; } =
    [
        new RingTarget(),
        new InflightTarget(),
        new VhostUserTarget(),
        new NbdTarget(),
        new SuperblockTarget(),
        new RecordTarget(),
    ];

    /// <summary>The target of a name, or null.</summary>
    public static IFuzzTarget? Find(string name) => All.FirstOrDefault(t => t.Name == name);
}
