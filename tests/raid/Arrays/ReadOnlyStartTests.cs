// Starts that only read, and starts without members: nothing is written that nobody asked for, and nobody is thrown out for
// having been away.

using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class ReadOnlyStartTests
{
    public static TheoryData<RaidLevel, int> Redundant => new()
    {
        { RaidLevel.Raid1, 2 }, { RaidLevel.Raid10, 4 }, { RaidLevel.Raid5, 3 }, { RaidLevel.Raid6, 4 },
    };

    [Theory]
    [MemberData(nameof(Redundant))]
    [InlineData(RaidLevel.Raid0, 2)]
    public async Task A_run_that_only_reads_writes_nothing_even_when_a_resync_is_due_and_a_block_is_bad(
        RaidLevel level, int drives)
    {
        (ArrayRig rig, byte[] data) = await FilledAsync(level, drives);
        await using ArrayRig owned = rig;
        await rig.AbandonAsync();
        var watch = new PowerFuse(int.MaxValue);
        rig.Run = new ArrayRunOptions { CleanAfter = TimeSpan.Zero, CheckpointEvery = TimeSpan.Zero };
        await rig.AssembleAsync(watch.Protect(rig.Drives), readOnly: true);
        if (rig.Array.Geometry.CopyCount > 1)
        {
            // Parity that is not known to be right makes nothing; see the test below.
            rig.Drives[1].AddFault(new DriveFault
            {
                Operation = BlockOperation.Read, OffsetBytes = ArrayRig.DataOffset, LengthBytes = 4096,
            });
        }

        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(data, await driver.ReadOrThrowAsync(0, data.Length));
        Assert.Equal(-Errno.EROFS, await driver.WriteAsync(0, new byte[4096]));
        Assert.Equal(-Errno.EROFS, await driver.DiscardAsync(0, 64 << 10));
        Assert.Equal(0, await driver.FlushAsync());
        await Assert.ThrowsAsync<ArrayException>(() => rig.Array.ResizeAsync(64 << 10));
        await rig.StopAsync();
        Assert.Equal(0, watch.Writes);

        // It still is as it was: a start for writing finds the crash.
        rig.Drives[1].ClearFaults();
        rig.Run = new ArrayRunOptions { Resync = false };
        await rig.AssembleAsync(allowDegraded: false);
        Assert.Equal(level != RaidLevel.Raid0, rig.Array.GetStatus().Resync is not null);
    }

    [Theory]
    [MemberData(nameof(Redundant))]
    public async Task A_bad_block_is_made_from_the_others_and_not_repaired_while_the_array_is_only_read(RaidLevel level, int drives)
    {
        (ArrayRig rig, byte[] data) = await FilledAsync(level, drives);
        await using ArrayRig owned = rig;
        await rig.StopAsync();
        var watch = new PowerFuse(int.MaxValue);
        await rig.AssembleAsync(watch.Protect(rig.Drives), readOnly: true);
        rig.Drives[1].AddFault(new DriveFault
        {
            Operation = BlockOperation.Read, OffsetBytes = ArrayRig.DataOffset, LengthBytes = 4096,
        });
        Assert.Equal(data, await (await rig.OpenAsync()).ReadOrThrowAsync(0, data.Length));
        await rig.StopAsync();
        Assert.Equal(0, watch.Writes);
    }

    [Theory]
    [MemberData(nameof(Redundant))]
    [InlineData(RaidLevel.Raid0, 2)]
    public async Task A_clean_array_that_is_started_for_writing_and_only_read_writes_nothing(RaidLevel level, int drives)
    {
        (ArrayRig rig, byte[] data) = await FilledAsync(level, drives);
        await using ArrayRig owned = rig;
        await rig.StopAsync();
        var watch = new PowerFuse(int.MaxValue);
        rig.Run = new ArrayRunOptions { CleanAfter = TimeSpan.Zero, CheckpointEvery = TimeSpan.Zero };
        await rig.AssembleAsync(watch.Protect(rig.Drives), allowDegraded: false);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(data, await driver.ReadOrThrowAsync(0, data.Length));
        Assert.Equal(0, await driver.FlushAsync());
        await rig.StopAsync();
        Assert.Equal(0, watch.Writes);
    }

    [Theory]
    [MemberData(nameof(Redundant))]
    public async Task A_member_that_was_away_is_out_only_once_something_was_written_without_it(RaidLevel level, int drives)
    {
        (ArrayRig rig, byte[] data) = await FilledAsync(level, drives);
        await using ArrayRig owned = rig;
        await rig.StopAsync();

        ArrayException refused = await Assert.ThrowsAsync<ArrayException>(
            () => rig.AssembleAsync(rig.Drives[1..], allowDegraded: false));
        Assert.Contains("member 0", refused.Message, StringComparison.Ordinal);
        Assert.Contains("--allow-degraded", refused.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<ArrayException>(() => rig.AssembleAsync(rig.Drives[1..], allowDegraded: false, readOnly: true));

        // Read, by either kind of start: it comes back as if nothing had been.
        foreach (bool readOnly in new[] { true, false })
        {
            await rig.AssembleAsync(rig.Drives[1..], readOnly: readOnly);
            Assert.Equal(data, await (await rig.OpenAsync()).ReadOrThrowAsync(0, data.Length));
            await rig.StopAsync();
            await rig.AssembleAsync(allowDegraded: false);
            Assert.Equal(ArrayHealth.Optimal, rig.Array.GetStatus().Health);
            await rig.StopAsync();
        }

        // Written: it stays out, and nobody is asked any more.
        await rig.AssembleAsync(rig.Drives[1..]);
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, data.AsMemory(0, 4096)));
        await rig.StopAsync();
        await rig.AssembleAsync(allowDegraded: false);
        Assert.Equal(1UL, rig.Array.State.FailedMask);
        await rig.StopAsync();

        // The one that is stale does not know of it: alone, or with too few, it must not start unasked.
        refused = await Assert.ThrowsAsync<ArrayException>(() => rig.AssembleAsync(rig.Drives[..1], allowDegraded: false));
        Assert.Contains("member 1", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_write_without_a_member_waits_for_superblocks_that_say_so_also_when_they_say_dirty_already()
    {
        (ArrayRig rig, byte[] data) = await FilledAsync(RaidLevel.Raid1, 3);
        await using ArrayRig owned = rig;
        await rig.AbandonAsync();
        rig.Run = new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), Resync = false };
        await rig.AssembleAsync(rig.Drives[1..]);
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, data.AsMemory(0, 4096)));
        await rig.AbandonAsync();
        await rig.AssembleAsync(allowDegraded: false);
        Assert.Equal(1UL, rig.Array.State.FailedMask);
    }

    [Theory]
    [InlineData(RaidLevel.Raid0, 3, 1)]
    [InlineData(RaidLevel.Raid10, 4, 2)]
    [InlineData(RaidLevel.Raid5, 4, 2)]
    [InlineData(RaidLevel.Raid6, 5, 3)]
    [InlineData(RaidLevel.Raid73, 6, 4)]
    public async Task What_is_left_of_a_broken_array_can_be_read(RaidLevel level, int drives, int lost)
    {
        (ArrayRig rig, byte[] data) = await FilledAsync(level, drives);
        await using ArrayRig owned = rig;
        await rig.StopAsync();
        ArrayException refused = await Assert.ThrowsAsync<ArrayException>(() => rig.AssembleAsync(rig.Drives[lost..]));
        Assert.Contains("--read-only", refused.Message, StringComparison.Ordinal);
        Assert.Contains("member 0", refused.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<ArrayException>(
            () => rig.AssembleAsync(rig.Drives[lost..], allowDegraded: false, readOnly: true));

        var watch = new PowerFuse(int.MaxValue);
        await rig.AssembleAsync(watch.Protect(rig.Drives[lost..]), readOnly: true);
        ArrayStatus status = rig.Array.GetStatus();
        Assert.Equal(ArrayHealth.Failed, status.Health);
        Assert.Equal(lost, status.Members.Count(m => m is { State: Polyblk.Raid.Superblock.MemberState.Missing, Name: "" }));
        RequestDriver driver = await rig.OpenAsync();
        int had = 0;
        for (int at = 0; at < data.Length; at += 16 << 10)
        {
            (int answer, byte[] read) = await driver.ReadAsync(at, 16 << 10);
            RaidGeometry geometry = rig.Array.Geometry;
            bool isHere = Enumerable.Range(0, geometry.CopyCount)
                .Any(c => (level == RaidLevel.Raid10 ? geometry.Copy(at, c) : geometry.Map(at)).Member >= lost);
            Assert.Equal(isHere ? 0 : -Errno.EIO, answer);
            Assert.True(!isHere || data.AsSpan(at, read.Length).SequenceEqual(read), $"at {at}");
            had += isHere ? 1 : 0;
        }

        Assert.InRange(had, 1, (data.Length >> 14) - 1);
        Assert.Equal(-Errno.EROFS, await driver.WriteAsync(0, new byte[4096]));
        await rig.StopAsync();
        Assert.Equal(0, watch.Writes);
        await rig.AssembleAsync(allowDegraded: false);
        Assert.Equal(data, await (await rig.OpenAsync()).ReadOrThrowAsync(0, data.Length));
    }

    /// <summary>An array full of noise, open and dirty.</summary>
    private static async Task<(ArrayRig Rig, byte[] Data)> FilledAsync(RaidLevel level, int drives)
    {
        ArrayRig rig = await ArrayRig.CreateAsync(level, drives, 16 << 10, 128 << 10);
        var data = new byte[rig.Array.SizeBytes];
        new Random(drives).NextBytes(data);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, data));
        Assert.Equal(0, await driver.FlushAsync());
        return (rig, data);
    }
}
