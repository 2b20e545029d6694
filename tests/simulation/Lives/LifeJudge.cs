// What is demanded of what the guest and the drives hold: what is read is possible (VolumeModel), after a power cut also for what
// was flushed; nothing changes by itself; members agree after the resync, and a scrub finds nothing.

using Polyblk.Core.Block;
using Polyblk.Raid;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Simulation.Tests.Lives;

/// <summary>See the top of the file.</summary>
internal sealed class LifeJudge(LifeScene scene)
{
    private RaidArray Array => scene.Array!;

    /// <summary>Whether members have agreed once, so that a later resync has only open blocks to settle.</summary>
    public bool WasInSync { get; private set; }

    /// <summary>Stripes for whose lost blocks nobody answers.</summary>
    public long ExcusedStripes { get; private set; }

    /// <summary>
    /// While a resync is under way, blocks that were open when it became needed may differ from member to member.
    /// </summary>
    public void NoteSync()
    {
        // An array that runs on in memory alone agrees with nobody.
        scene.ThrowIfInterrupted();
        scene.Members.Note();
        if (!Array.State.NeedsResync)
        {
            WasInSync = true;
            scene.WasInDoubt &= !Array.State.TrustsUnsynced || !Array.State.PersistedTrust;
            scene.OpenBlocks.Clear();
            scene.Model!.ForgetUnsettled();
        }
    }

    /// <summary>A member is out while, or since, blocks were open: nobody answers for some of its blocks.</summary>
    /// <param name="isReplayed">Whether the array has started with all members since they were open.</param>
    public void ExcuseLost(bool isReplayed)
    {
        if (Array.Consistency != ArrayConsistency.Journal || scene.IsForced || !Array.State.TrustsUnsynced)
        {
            ExcuseOpenStripes();
            return;
        }

        // What was put right from the journal stays as it was found; rows that were written as a whole are not in it.
        foreach ((RaidGeometry geometry, long bias) in Geometries)
        {
            int atLeast = isReplayed ? geometry.DataCount : 2;
            foreach (long block in OpenColumns.Find(geometry, scene.OpenBlocks.Select(b => b + bias), atLeast, ulong.MaxValue).ToArray())
            {
                scene.Model!.Excuse(block - bias);
            }
        }
    }

    private void ExcuseOpenStripes()
    {
        foreach ((RaidGeometry geometry, long bias) in Geometries)
        {
            long blocksPerStripe = geometry.StripeDataSize / VolumeModel.BlockBytes;
            foreach (long stripe in scene.OpenBlocks.Select(b => (b + bias) / blocksPerStripe).Distinct())
            {
                ExcusedStripes++;
                long end = Math.Min(((stripe + 1) * blocksPerStripe) - bias, scene.Plan.VolumeBytes / VolumeModel.BlockBytes);
                for (long block = (stripe * blocksPerStripe) - bias; block < end; block++)
                {
                    scene.Model!.Excuse(block);
                }
            }
        }
    }

    /// <summary>
    /// Where what was open may lie, and what is to be added to a block of the volume for it: two while it is being reshaped.
    /// </summary>
    private IEnumerable<(RaidGeometry Geometry, long BiasBlocks)> Geometries => Array.Reshape is { Map: var map }
        ? [(map.New, 0), (map.Old, map.Bias / VolumeModel.BlockBytes)]
        : [(Array.Geometry, 0)];

    /// <summary>What was flushed is there; what was found stays from then on.</summary>
    public async Task JudgeAfterPowerLossAsync()
    {
        byte[] found = await ReadAndJudgeAsync(powerWasLost: true);
        scene.Model!.Settle(0, found);
        scene.PowerWasLost = false;
    }

    /// <summary>Members that count as in step never differ.</summary>
    public void JudgeScrub()
    {
        if (scene.Plan.Trouble != Trouble.ReadErrors
            && Array.GetStatus().Scrub is { } found
            && found.Differing + found.MadeToAgree != 0)
        {
            throw new LifeException($"members differ: {found}");
        }
    }

    /// <summary>The last judgement: no fault is left, and all that was to be repaired is.</summary>
    public async Task JudgeAtTheEndAsync()
    {
        scene.Drives.ClearFaults();
        await WaitForResyncAsync();
        await WaitForMendAsync();
        await ReadAndJudgeAsync(powerWasLost: false);
        if (scene.Plan.Trouble == Trouble.Corrupt && Array.State.LostMask == 0)
        {
            // Parities, and copies that nobody has read.
            await WaitForScrubAsync();
            await Array.StartScrubAsync(repair: true);
            await WaitForScrubAsync();
            JudgeScrub();
        }

        while (!await TryCompareMembersAsync())
        {
            await WaitForResyncAsync();
        }

        if (scene.Plan.Scrubs && !Array.State.IsBroken)
        {
            await WaitForScrubAsync();
            await Array.StartScrubAsync(repair: false);
            await WaitForScrubAsync();
            JudgeScrub();
        }
    }

    /// <summary>Whether something is surely under way: that is seen without all that a status says.</summary>
    private bool IsAtWork => Array.State is { NeedsResync: true } or { RebuildingMask: not 0, FailedMask: 0 }
        || Array.Map.Replacement is not null || Array.Reshaping is not null;

    /// <summary>Waits until no resync, no rebuild, no replacement and no reshape is under way.</summary>
    public async Task WaitForResyncAsync()
    {
        await WaitAsync(
            () => IsAtWork || Array.GetStatus()
                is { Resync: not null } or { Rebuild: not null } or { Replacement: not null } or { Reshape: not null },
            () => $"the resync does not end: {string.Join(" ", Array.GetStatus().Warnings)}");
        NoteSync();
    }

    /// <summary>What drives could not write they can now, and it is made from the others.</summary>
    private Task WaitForMendAsync() => WaitAsync(
        () => Array.State is { BadMask: not 0 } state && (state.BadMask & ~state.LostMask) != 0
            && (state.LostMask == 0 || !Array.Geometry.HasParity),
        () => $"bad ranges stay: {string.Join(" ", Array.GetStatus().Warnings)} Out: {Array.State.LostMask:x}; bad: "
            + $"{string.Join(", ", Array.State.Bad.Entries)}");

    private Task WaitForScrubAsync() =>
        WaitAsync(() => Array.GetStatus().Scrub is { EndedAt: null }, () => $"the scrub does not end: {Array.GetStatus().Scrub}");

    private async Task WaitAsync(Func<bool> isUnderWay, Func<string> complaint)
    {
        for (int i = 0; isUnderWay(); i++)
        {
            if (i > 3000)
            {
                throw new LifeException(complaint());
            }

            await Task.Delay(TimeSpan.FromMilliseconds(20), scene.World.Clock);
        }
    }

    private async Task<byte[]> ReadAndJudgeAsync(bool powerWasLost)
    {
        long begun = scene.Model!.Step();
        byte[] found = await scene.Guest!.ReadAsync(0, (int)scene.Plan.VolumeBytes);
        return scene.Model.Judge(0, found, begun, powerWasLost) is { } wrong
            ? throw new LifeException(powerWasLost ? $"after the loss of power {wrong}" : wrong)
            : found;
    }

    /// <summary>Compares what members hold. Returns false when one was being rebuilt meanwhile.</summary>
    private async Task<bool> TryCompareMembersAsync()
    {
        var members = new byte[Array.Members.Length][];
        RaidGeometry geometry = Array.Geometry;
        ulong failed = Array.State.LostMask, lost = failed;
        int epoch = Array.Map.Epoch;
        for (int i = 0; i < members.Length; i++)
        {
            failed |= scene.Members.DriveOf(i) is { IsGone: false } ? 0 : 1UL << i;
        }

        if (failed != 0 && geometry.HasParity && geometry.GroupCount == 1)
        {
            return true;
        }

        for (int i = 0; i < members.Length; i++)
        {
            members[i] = [];
            if (((failed >> i) & 1) == 0)
            {
                members[i] = new byte[geometry.MemberDataSize];
                await BlockIo.ReadAsync(scene.Members.DriveOf(i)!, scene.Home, geometry.DataOffset, members[i]);
            }
        }

        if (epoch != Array.Map.Epoch || lost != Array.State.LostMask)
        {
            return false;
        }

        return MemberCheck.Find(geometry, members) is { } wrong ? throw new LifeException($"at the end {wrong}") : true;
    }
}
