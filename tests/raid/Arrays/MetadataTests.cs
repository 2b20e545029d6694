// What superblocks hold of an array and keep over starts; what becomes of slots that cannot be read; who waits for updates and
// who does not.

using System.Buffers.Binary;
using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class MetadataTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public async Task A_slot_that_cannot_be_read_costs_no_member_and_is_written_anew(ulong slot)
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid5, 3);
        await rig.StopAsync();
        rig.Drives[0].AddFault(Unreadable(slot));
        for (int i = 0; i < 2; i++)
        {
            // The second time the newest is in the slot that can be read, or in the other one.
            await rig.AssembleAsync(allowDegraded: false);
            Assert.Equal(ArrayHealth.Optimal, rig.Array.GetStatus().Health);
            Assert.Contains(rig.Events, e => e.Message.Contains("superblock cannot be read", StringComparison.Ordinal));
            await rig.Array.ResizeAsync((64 + i) << 12);
            await rig.StopAsync();
        }

        rig.Drives[0].ClearFaults();
        IReadOnlyList<DriveInspection> found = await ArrayBuilder.InspectAsync(rig.Drives, rig.Reactors.Reactor);
        Assert.All(found, f => Assert.Null(f.Problem));
        Assert.Equal(65 << 12, found[0].Superblock!.ExportedSize);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public async Task A_slot_that_cannot_be_read_hides_no_failure_that_was_acknowledged(ulong slot)
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid1, 2);
        RequestDriver driver = await rig.OpenAsync();
        await rig.Drives[1].VanishAsync();
        Assert.Equal(0, await driver.WriteAsync(0, new byte[4096]));
        await rig.AbandonAsync();
        rig.Drives[1].Return();
        rig.Drives[0].AddFault(Unreadable(slot));
        await rig.AssembleAsync(allowDegraded: false);
        Assert.Equal(0b10UL, rig.Array.State.FailedMask);
    }

    [Fact]
    public async Task An_erased_member_never_shows_an_older_superblock()
    {
        for (int cut = 0; cut < 4; cut++)
        {
            await using ArrayRig rig = await ArrayRig.CreateAsync(
                RaidLevel.Raid1, 2, simulation: o => o with { CanCrash = true });
            await rig.Array.ResizeAsync(64 << 12);
            await rig.StopAsync();
            var fuse = new PowerFuse(cut);
            IBlockDevice erased = fuse.Protect(rig.Drives)[0];
            await Assert.ThrowsAsync<ArrayException>(() => ArrayBuilder.EraseAsync([erased], null, rig.Reactors.Reactor));
            await rig.CrashAsync();
            await rig.RestartDrivesAsync();
            ArraySuperblock? left = (await ArrayBuilder.InspectAsync(rig.Drives[..1], rig.Reactors.Reactor))[0].Superblock;
            Assert.True(left is null || left.ExportedSize == 64 << 12, $"after {cut} requests");
        }
    }

    [Fact]
    public async Task The_block_size_is_the_arrays_whatever_drives_are_there()
    {
        await using ArrayRig rig = await MixedAsync();
        Assert.Equal(4096, rig.Array.Limits.LogicalBlockSize);
        await rig.StopAsync();

        // Without the drive that has such blocks it is what it was.
        await rig.AssembleAsync(rig.Drives[1..]);
        Assert.Equal(4096, rig.Array.Limits.LogicalBlockSize);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(-Errno.EINVAL, await driver.WriteAsync(512, new byte[512]));
        Assert.Equal(0, await driver.WriteAsync(4096, new byte[4096]));
    }

    [Fact]
    public async Task An_array_that_does_not_know_its_block_size_learns_it_from_all_its_drives()
    {
        await using ArrayRig rig = await MixedAsync();
        await rig.StopAsync();
        await ForgetBlockSizeAsync(rig);

        // Not all are there, and those that are say nothing: nobody guesses.
        ArrayException refused = await Assert.ThrowsAsync<ArrayException>(() => rig.AssembleAsync(rig.Drives[1..]));
        Assert.Contains("--block-size", refused.Message, StringComparison.Ordinal);
        await rig.AssembleAsync(rig.Drives[1..], readOnly: true, blockSize: 4096);
        Assert.Equal(4096, rig.Array.Limits.LogicalBlockSize);
        await rig.StopAsync();
        await rig.AssembleAsync([rig.Drives[0], rig.Drives[2]], readOnly: true);
        Assert.Equal(4096, rig.Array.Limits.LogicalBlockSize);
        await rig.StopAsync();

        // All are there; the first write records it.
        await rig.AssembleAsync(allowDegraded: false);
        Assert.Equal(4096, rig.Array.Limits.LogicalBlockSize);
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, new byte[4096]));
        await rig.StopAsync();
        await rig.AssembleAsync(rig.Drives[1..]);
        Assert.Equal(4096, rig.Array.Limits.LogicalBlockSize);
    }

    [Fact]
    public async Task A_drive_with_larger_blocks_than_the_arrays_is_no_member()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid1, 2);
        Assert.Equal(512, rig.Array.Limits.LogicalBlockSize);
        await rig.StopAsync();
        var blocks = new SimulatedDriveOptions { LogicalBlockSize = 4096, CanCrash = false };
        await using var coarse = new SimulatedDrive(rig.Drives[0].SizeBytes, blocks);
        var content = new byte[rig.Drives[0].SizeBytes];
        await BlockIo.ReadAsync(rig.Drives[0], rig.Reactors.Reactor, 0, content);
        await BlockIo.WriteAsync(coarse, rig.Reactors.Reactor, 0, content);
        ArrayException refused = await Assert.ThrowsAsync<ArrayException>(() => rig.AssembleAsync([coarse, rig.Drives[1]]));
        Assert.Contains("blocks of 4096 bytes", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_warning_of_damage_outlives_starts_until_somebody_says_that_he_knows()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid5, 3, 16 << 10, 512 << 10, consistency: ArrayConsistency.Bitmap);
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, new byte[4096]));
        await rig.AbandonAsync();
        rig.Run = new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1) };
        await rig.AssembleAsync(rig.Drives[1..], force: true);
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, new byte[4096]));
        for (int i = 0; i < 2; i++)
        {
            await rig.StopAsync();
            await rig.AssembleAsync();
            Assert.Contains(rig.Array.GetStatus().Warnings, w => w.Contains("damaged", StringComparison.Ordinal));
        }

        await rig.Array.AcknowledgeDamageAsync();
        Assert.DoesNotContain(rig.Array.GetStatus().Warnings, w => w.Contains("damaged", StringComparison.Ordinal));
        await rig.StopAsync();
        await rig.AssembleAsync();
        Assert.DoesNotContain(rig.Array.GetStatus().Warnings, w => w.Contains("damaged", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_member_that_fails_while_parity_is_not_known_to_be_right_leaves_the_warning_too()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid5, 3, 16 << 10, 256 << 10, zeroed: false,
            run: new ArrayRunOptions { Resync = false, CleanAfter = TimeSpan.FromHours(1) },
            consistency: ArrayConsistency.Bitmap);
        RequestDriver driver = await rig.OpenAsync();
        await rig.Drives[1].VanishAsync();
        Assert.Equal(0, await driver.WriteAsync(0, new byte[rig.Array.SizeBytes]));
        await rig.AbandonAsync();
        rig.Drives[1].Return();
        await rig.AssembleAsync(force: true, readOnly: true);
        Assert.Contains(rig.Array.GetStatus().Warnings, w => w.Contains("damaged", StringComparison.Ordinal));
        IReadOnlyList<DriveInspection> found = await ArrayBuilder.InspectAsync([rig.Drives[0]], rig.Reactors.Reactor);
        Assert.Equal(ArrayNotices.MayBeDamaged, found[0].Superblock!.Notices);
    }

    [Fact]
    public async Task Reads_of_a_clean_array_do_not_wait_for_the_superblocks_of_its_first_write()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid5, 3);
        RequestDriver driver = await rig.OpenAsync();
        Stick(rig);
        Task<int> write = driver.WriteAsync(0, new byte[4096]);
        Assert.Equal(0, (await driver.ReadAsync(0, 4096).WaitAsync(TimeSpan.FromSeconds(60))).Status);
        Assert.False(write.IsCompleted);
        await rig.ReleaseDrivesAsync();
        Assert.Equal(0, await write);
    }

    [Fact]
    public async Task A_resize_during_a_stop_is_done_before_or_refused()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid1, 2);
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, new byte[4096]));
        await rig.CloseDriversAsync();
        Stick(rig);
        Task before = rig.Array.ResizeAsync(32 << 12);
        Task stop = rig.Array.DisposeAsync().AsTask();
        Task behind = rig.Array.ResizeAsync(33 << 12);
        await rig.ReleaseDrivesAsync();
        await before;
        await stop;
        bool isDone = await IsDoneAsync(behind);
        await Assert.ThrowsAsync<ArrayException>(() => rig.Array.ResizeAsync(34 << 12));

        // One event, one superblock.
        IReadOnlyList<DriveInspection> found = await ArrayBuilder.InspectAsync(rig.Drives, rig.Reactors.Reactor);
        Assert.All(found, f => Assert.Equal(found[0].Superblock!.EventCount, f.Superblock!.EventCount));
        Assert.All(found, f => Assert.Equal(isDone ? 33 << 12 : 32 << 12, f.Superblock!.ExportedSize));
        Assert.All(found, f => Assert.Equal(ArrayStateFlags.Clean, f.Superblock!.State));
    }

    [Fact]
    public async Task A_size_is_shown_when_the_superblocks_have_it()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid1, 2);
        long before = rig.Array.SizeBytes;
        Stick(rig);
        Task resize = rig.Array.ResizeAsync(8 << 12);
        await Task.Delay(100);
        Assert.Equal(before, rig.Array.SizeBytes);
        await rig.ReleaseDrivesAsync();
        await resize;
        Assert.Equal(8 << 12, rig.Array.SizeBytes);
    }

    private static async Task<bool> IsDoneAsync(Task resize)
    {
        try
        {
            await resize;
            return true;
        }
        catch (ArrayException)
        {
            return false;
        }
    }

    private static Task<ArrayRig> CreateAsync(RaidLevel level, int drives) =>
        ArrayRig.CreateAsync(level, drives, 16 << 10, 512 << 10);

    private static DriveFault Unreadable(ulong slot) => new()
    {
        Operation = BlockOperation.Read,
        OffsetBytes = SuperblockFormat.SlotOffset(slot),
        LengthBytes = SuperblockFormat.SizeBytes,
    };

    /// <summary>RAID 5 over three drives, the first of which has blocks of 4096 bytes.</summary>
    private static Task<ArrayRig> MixedAsync()
    {
        int made = 0;
        return ArrayRig.CreateAsync(
            RaidLevel.Raid5, 3, 16 << 10, 512 << 10, simulation: o => o with { LogicalBlockSize = made++ == 0 ? 4096 : 512 });
    }

    /// <summary>Makes the superblocks what a program would have written that did not know of block sizes.</summary>
    private static async Task ForgetBlockSizeAsync(ArrayRig rig)
    {
        foreach (SimulatedDrive drive in rig.Drives)
        {
            for (ulong slot = 0; slot < 2; slot++)
            {
                var block = new byte[SuperblockFormat.SizeBytes];
                await BlockIo.ReadAsync(drive, rig.Reactors.Reactor, SuperblockFormat.SlotOffset(slot), block);
                BinaryPrimitives.WriteUInt32LittleEndian(block.AsSpan(168), 0);
                BinaryPrimitives.WriteUInt32LittleEndian(block.AsSpan(12), 0);
                BinaryPrimitives.WriteUInt32LittleEndian(block.AsSpan(12), Crc32C.Compute(block));
                await BlockIo.WriteAsync(drive, rig.Reactors.Reactor, SuperblockFormat.SlotOffset(slot), block);
            }
        }
    }

    /// <summary>Superblocks hang on their way to the drives.</summary>
    private static void Stick(ArrayRig rig)
    {
        var fault = new DriveFault { Operation = BlockOperation.Write, LengthBytes = ArrayRig.DataOffset, Stuck = true };
        Array.ForEach(rig.Drives, d => d.AddFault(fault));
    }
}
