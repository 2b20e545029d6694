// Power cuts at every moment of what changes superblocks. After each of them the newest superblock must be true: where copies
// differ or parity is wrong, it calls for a resync.

using Polyblk.Core.Block;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using static Polyblk.Raid.Tests.Arrays.TestBytes;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class StartCrashTests
{
    private const int MemberBytes = 64 << 10;
    private const int MostRequests = 400;

    public static TheoryData<RaidLevel, int> Shapes => new()
    {
        { RaidLevel.Raid1, 2 },
        { RaidLevel.Raid10, 4 },
        { RaidLevel.Raid5, 3 },
        { RaidLevel.Raid6, 4 },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public async Task A_power_cut_at_any_moment_of_a_start_after_a_crash_loses_no_resync(RaidLevel level, int drives)
    {
        bool done = false;
        for (int cut = 0; !done && cut < MostRequests; cut++)
        {
            await using ArrayRig rig = await CutOffWhileWritingAsync(level, drives);
            var fuse = new PowerFuse(cut);
            await StartAsync(rig, fuse, async () =>
            {
                await Task.WhenAny(fuse.Blown.Task, rig.WaitForResyncAsync());
                await rig.CloseDriversAsync();
                await rig.Array.DisposeAsync();
            });
            done = !fuse.IsBlown;
            await CutPowerAsync(rig);
            await CheckTruthAsync(rig, $"cut after {cut} requests");
        }

        Assert.True(done, "the start never came to its end");
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid5, 3)]
    public async Task A_power_cut_at_any_moment_of_a_first_write_or_an_orderly_end_loses_no_resync(RaidLevel level, int drives)
    {
        bool done = false;
        for (int cut = 0; !done && cut < MostRequests; cut++)
        {
            await using ArrayRig rig = await CreateAsync(level, drives);
            await rig.StopAsync();
            rig.Run = rig.Run with { CleanAfter = TimeSpan.Zero };
            var fuse = new PowerFuse(cut);
            await StartAsync(rig, fuse, async () =>
            {
                RequestDriver driver = await rig.OpenAsync();
                _ = await driver.WriteAsync(4096, Noise(8192, cut));
                await ArrayRig.WaitAsync(
                    () =>
                    {
                        // It need not wait for its next turn.
                        rig.Array.Control.Kick();
                        return fuse.IsBlown || !rig.Array.GetStatus().Dirty;
                    },
                    "the array to become clean");
                _ = await driver.WriteAsync(0, Noise(4096, cut + 1));
                await rig.CloseDriversAsync();
                await rig.Array.DisposeAsync();
            });
            done = !fuse.IsBlown;
            await CutPowerAsync(rig);
            await CheckTruthAsync(rig, $"cut after {cut} requests");
        }

        Assert.True(done, "the run never came to its end");
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid5, 3)]
    public Task A_power_cut_at_any_moment_of_a_resync_with_checkpoints_leaves_none_that_runs_ahead(RaidLevel level, int drives) =>
        CutWhileResyncingAsync(level, drives, new ArrayRunOptions { CheckpointEvery = TimeSpan.Zero, ResyncDepth = 1 }, rig =>
        {
            rig.Array.Control.Kick();
            return Task.CompletedTask;
        });

    /// <summary>Updates that flush nothing before them say how far the resync was at the last flush.</summary>
    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid5, 3)]
    public Task A_power_cut_at_any_moment_of_a_resync_with_other_updates_leaves_none_that_runs_ahead(RaidLevel level, int drives)
    {
        long size = 4096;
        return CutWhileResyncingAsync(
            level, drives, new ArrayRunOptions { CheckpointEvery = TimeSpan.FromHours(1), ResyncDepth = 1 },
            rig => rig.Array.ResizeAsync(size = 12_288 - size));
    }

    /// <summary>Cuts a resync off at every moment while something goes on beside it, again and again.</summary>
    private static async Task CutWhileResyncingAsync(RaidLevel level, int drives, ArrayRunOptions options, Func<ArrayRig, Task> beside)
    {
        bool done = false;
        for (int cut = 0; !done && cut < MostRequests; cut++)
        {
            // New, over drives full of noise: nothing agrees, and the array is clean, so that its progress is kept.
            await using ArrayRig rig = await ArrayRig.CreateAsync(
                level, drives, 16 << 10, MemberBytes, zeroed: false, simulation: o => o with { CanCrash = true },
                run: new ArrayRunOptions { Resync = false });
            for (int i = 0; i < drives; i++)
            {
                byte[] noise = Noise(MemberBytes, i);
                await BlockIo.WriteAsync(rig.Drives[i], rig.Reactors.Reactor, ArrayRig.DataOffset, noise, BlockFlags.Fua);
            }

            await rig.StopAsync();
            rig.Run = options;
            var fuse = new PowerFuse(cut);
            await StartAsync(rig, fuse, async () =>
            {
                while (!fuse.IsBlown && rig.Array.GetStatus().Resync is not null)
                {
                    await beside(rig);
                    await Task.Yield();
                }

                await rig.Array.DisposeAsync();
            });
            done = !fuse.IsBlown;
            await CutPowerAsync(rig);
            await CheckTruthAsync(rig, $"cut after {cut} requests");
        }

        Assert.True(done, "the resync never came to its end");
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid5, 3)]
    public async Task A_power_cut_at_any_moment_of_a_forced_creation_leaves_the_old_array_or_the_new_one_true(
        RaidLevel level, int drives)
    {
        bool done = false;
        for (int cut = 0; !done && cut < MostRequests; cut++)
        {
            await using ArrayRig rig = await CutOffWhileWritingAsync(level, drives);
            var fuse = new PowerFuse(cut);
            var options = new ArrayCreateOptions
            {
                Name = "test", Level = level, ChunkBytes = 16 << 10, Force = true, Run = new ArrayRunOptions { Resync = false },
            };
            try
            {
                RaidArray made = await ArrayBuilder.CreateAsync(options, fuse.Protect(rig.Drives), rig.Reactors.Reactor);
                await made.DisposeAsync();
            }
            catch (ArrayException)
            {
                Assert.True(fuse.IsBlown);
            }

            done = !fuse.IsBlown;
            await CutPowerAsync(rig);
            await CheckTruthAsync(rig, $"cut after {cut} requests");
        }

        Assert.True(done, "the creation never came to its end");
    }

    /// <summary>
    /// An array that went down while a write was on its way to one member only: the others do not agree with it.
    /// </summary>
    private static async Task<ArrayRig> CutOffWhileWritingAsync(RaidLevel level, int drives)
    {
        ArrayRig rig = await CreateAsync(level, drives);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, Noise((int)rig.Array.SizeBytes, 1)));
        Assert.Equal(0, await driver.FlushAsync());
        await rig.AbandonAsync();
        await BlockIo.WriteAsync(rig.Drives[1], rig.Reactors.Reactor, ArrayRig.DataOffset + 4096, Noise(8192, 2), BlockFlags.Fua);
        return rig;
    }

    private static Task<ArrayRig> CreateAsync(RaidLevel level, int drives) => ArrayRig.CreateAsync(
        level, drives, 16 << 10, MemberBytes, simulation: o => o with { CanCrash = true },
        run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1) });

    /// <summary>Starts the array on drives that the fuse cuts off, and runs it; the cut may come at any time.</summary>
    private static async Task StartAsync(ArrayRig rig, PowerFuse fuse, Func<Task> run)
    {
        try
        {
            await rig.AssembleAsync(fuse.Protect(rig.Drives));
            await run();
        }
        catch (ArrayException)
        {
            Assert.True(fuse.IsBlown);
        }

        await rig.AbandonAsync();
    }

    private static async Task CutPowerAsync(ArrayRig rig)
    {
        await rig.CrashAsync();
        await rig.RestartDrivesAsync();
    }

    /// <summary>What the superblocks say, held against what is on the drives; then a start from them makes all agree.</summary>
    private static async Task CheckTruthAsync(ArrayRig rig, string when)
    {
        IReadOnlyList<DriveInspection> found = await ArrayBuilder.InspectAsync(rig.Drives, rig.Reactors.Reactor);
        if (found.Any(f => f.Superblock is null) || found.Select(f => f.Superblock!.ArrayUuid).Distinct().Count() > 1)
        {
            // In the midst of a creation: nothing says that these drives are a whole array, and no start takes them for one.
            await Assert.ThrowsAsync<ArrayException>(() => rig.AssembleAsync(allowDegraded: false));
            return;
        }

        rig.Run = new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1) };
        await rig.AssembleAsync();
        Assert.True(rig.Array.State.FailedMask == 0, $"{when}: a member is out");
        await rig.WaitForResyncAsync();
        await rig.AssertConsistentAsync(when);
    }
}
