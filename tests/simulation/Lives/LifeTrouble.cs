// What goes wrong with drives while the guest works: always as much as the level makes up for, also while a resync makes members
// agree that once agreed, unless that would have to make up for a block as well as for what it has not come to yet.

using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Raid.Checksums;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Map;
using Polyblk.Raid.Superblock;

namespace Polyblk.Simulation.Tests.Lives;

/// <summary>See the top of the file.</summary>
internal sealed class LifeTrouble(LifeScene scene, LifeJudge judge)
{
    private Chance Chance => scene.Chance;

    /// <summary>A member gets into trouble, where there is room for it.</summary>
    public async Task MakeAsync(Task itsTime)
    {
        await itsTime;
        LifeMembers members = scene.Members;
        if (scene.IsInterrupted || scene.Plan.Trouble == Trouble.None || members.WithRoom(scene.Plan.MostTroubles) == 0
            || (scene.Plan.Trouble == Trouble.Corrupt && !scene.IsLast))
        {
            // What a drive has changed by itself, and nobody has read, is believed after a crash.
            return;
        }

        judge.NoteSync();
        bool isInResync = scene.Array!.State.NeedsResync;
        if (isInResync && !TryInResync())
        {
            return;
        }

        int count = scene.Array.Members.Length;
        ulong withRoom = members.WithRoom(scene.Plan.MostTroubles);
        int member = Chance.Next(count);
        while (members.IsTroubled(member) || ((withRoom >> member) & 1) == 0)
        {
            member = (member + 1) % count;
        }

        members.AddTroubled(member);
        if (scene.Plan.Trouble is not (Trouble.ReadErrors or Trouble.Hang or Trouble.BadBlocks or Trouble.Corrupt)
            || scene.Plan.TimesOut
            || (scene.Plan is { Trouble: Trouble.BadBlocks, Reshapes: true }))
        {
            // One that passes errors, too: a flush that fails is not tried again. While an array is reshaped, a bad block costs
            // the member.
            members.AddLost(member);
        }

        if (scene.Plan.Trouble == Trouble.Hang)
        {
            members.AddHung(member);
        }

        SimulatedDrive drive = members.DriveOf(member)!;
        scene.World.Note("trouble", (int)scene.Plan.Trouble, member);
        if (Chance.OneIn(2))
        {
            // What matters most is what comes right after.
            scene.InterruptWithin(50, 3_000);
        }

        if (scene.Plan.Trouble == Trouble.Corrupt)
        {
            await CorruptAsync(scene.Array.Members[member], drive);
        }
        else
        {
            await MeetAsync(drive, isInResync);
        }
    }

    /// <summary>
    /// Blocks of a member become something else, now and then: noise, or what another block holds. Those of which nothing is
    /// known are left as they are: nobody could tell.
    /// </summary>
    private async Task CorruptAsync(RaidMember member, SimulatedDrive drive)
    {
        ChecksummedDrive sums = member.Sums!;
        var block = new byte[ChecksumLayout.BlockBytes];
        for (int left = Chance.Between(1, 20); left > 0; left--)
        {
            await Task.Delay(TimeSpan.FromMicroseconds(Chance.Spread(1, 3_000)), scene.World.Clock);
            int at = Chance.Next((int)sums.Layout.Blocks), from = Chance.Next((int)sums.Layout.Blocks);
            if (scene.IsInterrupted || drive.IsGone || !IsInUse(member) || !IsKnown(sums, at) || sums.Locks.TryLock(at, 1) >= 0)
            {
                continue;
            }

            scene.World.Note("corrupt", member.Role, at, from);
            new Random(Chance.Next(int.MaxValue)).NextBytes(block);
            drive.Medium.Peek(sums.Layout.DataOffset + ((long)from * block.Length), Chance.OneIn(2) ? block : default);
            drive.Medium.Corrupt(sums.Layout.DataOffset + ((long)at * block.Length), block);
            sums.Locks.Unlock(at, 1);
        }
    }

    /// <summary>Whether it is that member still: the sums of one that was replaced, or is out, are put away.</summary>
    private bool IsInUse(RaidMember member) =>
        scene.Array is { } array && array.IsUsable(member.Role) && ReferenceEquals(array.Members[member.Role].Sums, member.Sums);

    private static unsafe bool IsKnown(ChecksummedDrive sums, int block)
    {
        int page = block / ChecksumLayout.SumsInPage;
        ChecksumPages pages = sums.Keeper.Pages;
        return pages.IsReady(page) && pages.Sums(page)[block % ChecksumLayout.SumsInPage] != 0;
    }

    /// <summary>Whether trouble may come while members do not all agree yet; the model is told what is lost by that.</summary>
    private bool TryInResync()
    {
        if (!judge.WasInSync || scene.Plan.Trouble is Trouble.ReadErrors or Trouble.Corrupt)
        {
            return false;
        }

        // Parity without a journal that lacks a member already after a crash has the write hole (docs/reliability.md), and gets no
        // further trouble. In one such life (seed 8266 before this) a write ended with EIO; whether it had to is not known.
        bool hasWriteHole = scene.Array!.Geometry.HasParity && scene.Plan.Consistency != ArrayConsistency.Journal;
        if (hasWriteHole && scene.Array.State.LostMask != 0)
        {
            return false;
        }

        scene.World.Note("trouble in a resync");
        if (scene.Array!.Geometry.HasParity)
        {
            judge.ExcuseLost(isReplayed: true);
        }
        else
        {
            scene.Model!.Unsettle(scene.OpenBlocks);
        }

        return true;
    }

    private async Task MeetAsync(SimulatedDrive drive, bool isInResync)
    {
        switch (scene.Plan.Trouble)
        {
            case Trouble.Vanish:
                await VanishAsync(drive, isInResync);
                break;
            case Trouble.VanishUntold:
                await VanishUntoldAsync(drive);
                break;
            case Trouble.RefuseWrites:
                drive.AddFault(new DriveFault { Operation = BlockOperation.Write, Errno = Errno.EIO, Count = Chance.Spread(1, 20) });
                break;
            case Trouble.PassingErrors:
                drive.AddFault(new DriveFault { Errno = Errno.EAGAIN, Count = Chance.Spread(1, 6), Probability = 0.5 });
                break;
            case Trouble.ReadErrors:
                drive.AddFault(new DriveFault
                {
                    Operation = BlockOperation.Read,
                    OffsetBytes = RaidGeometry.DefaultDataOffset,
                    Count = Chance.Spread(1, 6),
                });
                break;
            case Trouble.BadBlocks:
                MakeBad(drive);
                break;
            default:
                await HangAsync(drive);
                break;
        }
    }

    private Task VanishAsync(SimulatedDrive drive, bool isInResync)
    {
        // Until a write has found out that the drive is lost, each of its blocks is one that cannot be read: in a row that the
        // resync has yet to come to, that is an error.
        int errno = Chance.Of(Errno.ENODEV, Errno.EIO);
        scene.Guest!.ReadsMayFail |= errno == Errno.EIO && isInResync && scene.Array!.Geometry.HasParity;
        return drive.VanishAsync(errno);
    }

    private async Task VanishUntoldAsync(SimulatedDrive drive)
    {
        SimulatedDrive[] others = [.. scene.Drives.All.Where(d => d != drive && !d.IsGone)];
        foreach (SimulatedDrive other in others)
        {
            other.AddFault(new DriveFault
            {
                Operation = BlockOperation.Write,
                LengthBytes = RaidGeometry.DefaultDataOffset,
                Stuck = true,
            });
        }

        await drive.VanishAsync();
        await Task.Delay(TimeSpan.FromMilliseconds(Chance.Spread(1, 3_000)), scene.World.Clock);
        Array.ForEach(others, d => d.ClearFaults());
        foreach (SimulatedDrive other in others)
        {
            await other.ReleaseStuckAsync();
        }
    }

    private void MakeBad(SimulatedDrive drive)
    {
        RaidGeometry geometry = scene.Array!.Geometry;
        for (int left = Chance.Between(1, 3); left > 0; left--)
        {
            // Often where the guest writes.
            int bytes = Chance.Of(512, 4096);
            long most = geometry.MemberDataSize - bytes;
            long offset = Chance.Next((int)(Chance.OneIn(2) ? Math.Min(most, 16 << 10) : most)) / bytes * bytes;
            scene.Drives.MakeBad(drive, geometry.DataOffset + offset, bytes, alsoReads: !geometry.HasParity && Chance.OneIn(3));
        }
    }

    private async Task HangAsync(SimulatedDrive drive)
    {
        scene.HungLately = true;
        drive.AddFault(new DriveFault { Stuck = true, Probability = 0.3, Count = Chance.Spread(1, 6) });
        int least = scene.Plan.TimesOut ? 1_500 : 1;
        await Task.Delay(TimeSpan.FromMilliseconds(Chance.Spread(least, 3_000)), scene.World.Clock);
        drive.ClearFaults();
        await drive.ReleaseStuckAsync();
    }
}
