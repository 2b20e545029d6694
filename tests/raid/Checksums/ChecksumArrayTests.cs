// Arrays whose members have checksums: what a drive returns wrongly is found, told, and mended from redundancy.

using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;
using Polyblk.Raid.Tests.Arrays;

namespace Polyblk.Raid.Tests.Checksums;

public sealed class ChecksumArrayTests
{
    private const int Block = SumsRig.Block;

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid1, 3)]
    [InlineData(RaidLevel.Raid10, 3)]
    [InlineData(RaidLevel.Raid10, 4)]
    [InlineData(RaidLevel.Raid5, 3)]
    [InlineData(RaidLevel.Raid6, 5)]
    [InlineData(RaidLevel.Raid73, 6)]
    [InlineData(RaidLevel.Raid50, 6)]
    [InlineData(RaidLevel.Raid60, 8)]
    public async Task What_a_drive_returns_wrongly_is_found_mended_and_told(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, chunkBytes: 16 << 10, checksums: true);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes);
        for (int at = 0; at < data.Length; at += 64 << 10)
        {
            Assert.Equal(0, await driver.WriteAsync(at, data.AsMemory(at, Math.Min(64 << 10, data.Length - at))));
        }

        var random = new Random(drives);
        for (int role = 0; role < drives; role++)
        {
            for (int i = 0; i < 8; i++)
            {
                await SpoilAsync(rig, role, random.Next((int)(rig.Array.Geometry.MemberDataSize / Block)));
            }

            // Every block of every member: mirrors choose whom they read.
            for (int turn = 0; turn < 4; turn++)
            {
                await AssertReadsAsync(driver, data);
            }

            // And parities, which nobody reads.
            await rig.Array.StartScrubAsync(repair: true);
            await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Scrub is { EndedAt: not null }, "the repair to end");
            ScrubStatus scrub = rig.Array.GetStatus().Scrub!;
            Assert.Equal((0, 0, 0), (scrub.Differing, scrub.MadeToAgree, scrub.Unreadable));
        }

        ArrayStatus status = rig.Array.GetStatus();
        Assert.Equal(ArrayHealth.Optimal, status.Health);
        Assert.True(status.Checksums);
        Assert.True(status.Members.Sum(m => m.ChecksumErrors) > 0);
        await ArrayRig.WaitAsync(
            () => rig.Snapshot().Any(e => e.Kind == ArrayEventKind.MemberChecksumErrors), "the event");
        await rig.CloseDriversAsync();
        await rig.AssertConsistentAsync("all was mended");
        await rig.StopAsync();
        await rig.AssembleAsync(allowDegraded: false);
        await AssertReadsAsync(await rig.OpenAsync(), data);
        Assert.Equal(0, rig.Array.GetStatus().Members.Sum(m => m.ChecksumErrors));
    }

    [Fact]
    public async Task A_level_without_redundancy_answers_an_error_and_nothing_wrong()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid0, 2, checksums: true);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = TestBytes.Noise(128 << 10);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await SpoilAsync(rig, 0, 1);
        Assert.NotEqual(0, (await driver.ReadAsync(Block, Block)).Status);
        Assert.Equal(data[..Block], await driver.ReadOrThrowAsync(0, Block));
        Assert.Equal(0, await driver.WriteAsync(Block, data.AsMemory(Block, Block)));
        await AssertReadsAsync(driver, data);
        Assert.Equal([1, 0], rig.Array.GetStatus().Members.Select(m => m.ChecksumErrors!.Value));
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid1, 3)]
    [InlineData(RaidLevel.Raid10, 4)]
    public async Task Copies_with_bad_blocks_at_different_places_are_read_block_by_block(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, checksums: true);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = TestBytes.Noise(64 << 10);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        for (int role = 0; role < drives; role++)
        {
            await SpoilAsync(rig, role, 1 + (3 * role));
        }

        Assert.Equal(data, await driver.ReadOrThrowAsync(0, data.Length));
        Assert.Equal(data[512..^512], await driver.ReadOrThrowAsync(512, data.Length - 1024));

        // The same block of all copies is lost, and that one alone.
        for (int role = 0; role < drives; role++)
        {
            await SpoilAsync(rig, role, 15);
        }

        Assert.NotEqual(0, (await driver.ReadAsync(0, data.Length)).Status);
        Assert.Equal(data[..(15 * Block)], await driver.ReadOrThrowAsync(0, 15 * Block));
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid6, 4)]
    [InlineData(RaidLevel.Raid50, 6)]
    public async Task New_drives_get_checksums_of_their_own(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, checksums: true);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes);
        for (int at = 0; at < data.Length; at += 64 << 10)
        {
            Assert.Equal(0, await driver.WriteAsync(at, data.AsMemory(at, Math.Min(64 << 10, data.Length - at))));
        }

        // One that is gone, one that works, and the drive that was a member before.
        await rig.LoseAsync(driver, 0);
        SimulatedDrive first = rig.Drives[0];
        await rig.ReplaceAsync(0);
        await rig.WaitForRebuildAsync();
        SimulatedDrive next = rig.MakeDrive();
        await rig.Array.ReplaceWorkingMemberAsync(1, next);
        await ArrayRig.WaitAsync(
            () => rig.Array.GetStatus().Replacement is null && rig.Array.Members[1].Drive == next, "the replacement to end");
        rig.Drives[1] = next;
        first.Return();
        await rig.Array.FailMemberAsync(0);
        await rig.Array.ReplaceMemberAsync(0, first, force: true);
        rig.Drives[0] = first;
        await rig.WaitForRebuildAsync();

        for (int round = 0; round < 2; round++)
        {
            for (int block = 3; block < 64; block += 16)
            {
                await SpoilAsync(rig, round, block);
            }

            for (int turn = 0; turn < 4; turn++)
            {
                await AssertReadsAsync(driver, data);
            }

            Assert.True(rig.Array.GetStatus().Members.Sum(m => m.ChecksumErrors) > 0);
            await rig.Array.StartScrubAsync(repair: true);
            await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Scrub is { EndedAt: not null }, "the repair to end");
            await rig.StopAsync();
            await rig.AssembleAsync(allowDegraded: false);
            driver = await rig.OpenAsync();
        }

        // Too small by the area.
        var small = new SimulatedDrive(rig.Drives[0].SizeBytes - (1 << 20), new SimulatedDriveOptions { CanCrash = false });
        await using (small)
        {
            await Assert.ThrowsAsync<ArrayException>(() => rig.Array.AddSpareAsync(small));
        }
    }

    [Fact]
    public async Task It_is_recorded_and_nothing_is_moved_into_the_sums()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid5, 3, checksums: true);
        ArraySuperblock superblock = rig.Array.Control.Superblock;
        Assert.Equal(IncompatibleFeatures.Checksums, superblock.Incompatible);
        Assert.Equal(superblock.MemberDataOffset + superblock.MemberDataSize, superblock.ChecksumOffset);
        ArrayException grow = await Assert.ThrowsAsync<ArrayException>(rig.Array.GrowAsync);
        Assert.Contains("checksums", grow.Message, StringComparison.Ordinal);
        ArrayException reshape = await Assert.ThrowsAsync<ArrayException>(() => rig.Array.AddDrivesAsync([rig.MakeDrive()]));
        Assert.Contains("checksums", reshape.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_start_that_only_reads_verifies_and_writes_nothing()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, 2, checksums: true);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = TestBytes.Noise(64 << 10);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await rig.StopAsync();
        await SpoilAsync(rig, 0, 2);
        foreach (SimulatedDrive drive in rig.Drives)
        {
            drive.AddFault(new DriveFault { Operation = BlockOperation.Write });
        }

        await rig.AssembleAsync(readOnly: true);
        driver = await rig.OpenAsync();
        for (int turn = 0; turn < 8; turn++)
        {
            await AssertReadsAsync(driver, data);
        }

        Assert.Equal(0, rig.Array.GetStatus().Members.Sum(m => m.WriteErrors));
        Assert.True(rig.Array.GetStatus().Members[0].ChecksumErrors > 0);
        await rig.StopAsync();
    }

    [Fact]
    public async Task A_member_whose_sums_cannot_be_written_is_out_and_no_data_is_lost()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, 2, checksums: true);
        RequestDriver driver = await rig.OpenAsync();
        rig.Drives[1].AddFault(new DriveFault
        {
            Operation = BlockOperation.Write, OffsetBytes = rig.Array.Control.Superblock.ChecksumOffset, LengthBytes = 1 << 20,
        });
        byte[] data = TestBytes.Noise(64 << 10);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        Assert.Equal(0b10UL, rig.Array.State.FailedMask);
        await AssertReadsAsync(driver, data);
    }

    [Fact]
    public async Task An_array_whose_sums_cannot_be_made_is_not_made()
    {
        var reactors = new ReactorFixture(1, ringEntries: 0);
        using (reactors)
        {
            var simulated = new SimulatedDriveOptions { CanCrash = false };
            SimulatedDrive[] drives = [.. Enumerable.Range(0, 2).Select(_ => new SimulatedDrive(4 << 20, simulated))];
            drives[1].AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = 3 << 20, LengthBytes = 1 << 20 });
            var options = new ArrayCreateOptions { Name = "x", Level = RaidLevel.Raid1, AssumeZeroed = true, Checksums = true };
            await Assert.ThrowsAsync<ArrayException>(() => ArrayBuilder.CreateAsync(options, drives, reactors.Reactor));
            foreach (SimulatedDrive drive in drives)
            {
                await drive.DisposeAsync();
            }
        }
    }

    private static async Task AssertReadsAsync(RequestDriver driver, byte[] data)
    {
        for (int at = 0; at < data.Length; at += 16 << 10)
        {
            byte[] found = await driver.ReadOrThrowAsync(at, Math.Min(16 << 10, data.Length - at));
            Assert.True(data.AsSpan(at, found.Length).SequenceEqual(found), $"wrong data at {at}");
        }
    }

    private static Task SpoilAsync(ArrayRig rig, int role, long block) => BlockIo.WriteAsync(
        rig.Drives[role],
        rig.Reactors.Reactor,
        rig.Array.Geometry.DataOffset + (block * Block),
        TestBytes.Noise(Block, (int)block + 7));
}
