using System.Numerics;
using Polyblk.Drives.Simulated;
using Polyblk.Raid.Layout;

namespace Polyblk.Simulation.Tests.Lives;

/// <summary>Which members met trouble, and which of them the array may be without. A rebuilt member begins anew.</summary>
internal sealed class LifeMembers(LifeScene scene)
{
    private ulong _inTrouble;
    private ulong _hung;
    private ulong _seenRebuilding;

    /// <summary>Members that the array may have given up.</summary>
    public ulong Lost { get; private set; }

    /// <summary>
    /// The members of groups in which fewer than so many have met trouble since they were last whole: all, or none, of levels
    /// without groups.
    /// </summary>
    public ulong WithRoom(int most)
    {
        RaidGeometry geometry = scene.Array!.Geometry;
        ulong members = 0;
        for (int group = 0; group < geometry.GroupCount; group++)
        {
            ulong its = geometry.MembersOf(group);
            members |= BitOperations.PopCount(_inTrouble & its) < most ? its : 0;
        }

        return members;
    }

    /// <summary>The drive of a member; null when it has none.</summary>
    public SimulatedDrive? DriveOf(int member) => scene.Array!.Members[member].Drive as SimulatedDrive;

    /// <summary>A member meets trouble.</summary>
    public void AddTroubled(int member) => _inTrouble |= 1UL << member;

    /// <summary>The array may give a member up.</summary>
    public void AddLost(int member) => Lost |= 1UL << member;

    /// <summary>A member does not answer for a while, and lacks superblocks that the others have got meanwhile.</summary>
    public void AddHung(int member) => _hung |= 1UL << member;

    /// <summary>
    /// The array was cut off: who hung may not have got the last superblocks, and is stale at the next start (seed 3038).
    /// </summary>
    public void CutOff() => Lost |= _hung;

    /// <summary>Whether a member is in trouble already, or out.</summary>
    public bool IsTroubled(int member) => (((_inTrouble | scene.Array!.State.LostMask) >> member) & 1) != 0;

    /// <summary>A member that has been rebuilt is as good as any other, and may meet trouble like any other.</summary>
    public void Note()
    {
        scene.ThrowIfInterrupted();
        ulong lost = scene.Array!.State.LostMask;
        _seenRebuilding |= scene.Array.State.RebuildingMask;
        ulong healed = _seenRebuilding & ~lost;
        if (healed != 0)
        {
            scene.World.Note("healed", (long)healed);
            scene.Counts += new LifeCounts { Rebuilds = BitOperations.PopCount(healed) };
            _seenRebuilding &= ~healed;
            Lost &= ~healed;
            _hung &= ~healed;
            _inTrouble &= ~healed;
        }
    }
}
