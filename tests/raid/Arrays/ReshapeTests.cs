// Drives that are added, and levels that change: the volume is moved while consumers use it, over stops, crashes and losses of
// members.

using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;
using static Polyblk.Raid.Tests.Arrays.TestBytes;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class ReshapeTests
{
    private const int Chunk = 16 << 10;

    public static TheoryData<RaidLevel, int, RaidLevel, int> Shapes => new()
    {
        { RaidLevel.Raid0, 2, RaidLevel.Raid0, 1 }, { RaidLevel.Raid0, 1, RaidLevel.Raid0, 2 },
        { RaidLevel.Raid5, 3, RaidLevel.Raid5, 1 }, { RaidLevel.Raid5, 4, RaidLevel.Raid5, 2 },
        { RaidLevel.Raid6, 4, RaidLevel.Raid6, 1 }, { RaidLevel.Raid73, 5, RaidLevel.Raid73, 1 },
        { RaidLevel.Raid5, 3, RaidLevel.Raid6, 1 }, { RaidLevel.Raid5, 3, RaidLevel.Raid6, 2 },
        { RaidLevel.Raid5, 3, RaidLevel.Raid74, 3 }, { RaidLevel.Raid6, 4, RaidLevel.Raid73, 1 },
        { RaidLevel.Raid6, 4, RaidLevel.Raid5, 0 }, { RaidLevel.Raid6, 4, RaidLevel.Raid5, 1 },
        { RaidLevel.Raid74, 6, RaidLevel.Raid6, 0 },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public async Task The_volume_is_moved_to_its_new_shape_and_then_grows(RaidLevel level, int drives, RaidLevel next, int added)
    {
        await using ArrayRig rig = await MakeAsync(level, drives);
        long before = rig.Array.SizeBytes;
        var sizes = new List<long>();
        rig.Array.Resized += device => sizes.Add(device.SizeBytes);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)before, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));

        await ReshapeAsync(rig, next, added);
        Assert.Equal(next, rig.Array.GetStatus().Level);
        while (rig.Array.GetStatus().Reshape is { } status)
        {
            Assert.Equal((level, drives), (status.OldLevel, status.OldMembers));
            Assert.Equal((next, drives + added), (status.NewLevel, status.NewMembers));
            int from = Random.Shared.Next(0, (int)before / 512) * 512;
            int length = Math.Min((int)before - from, 512 * Random.Shared.Next(1, 200));
            byte[] patch = Noise(length, from);
            Assert.Equal(0, await driver.WriteAsync(from, patch));
            patch.CopyTo(data, from);
            Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        }

        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await ArrayRig.WaitAsync(() => sizes.Count != 0, "the new size");
        Assert.Equal([rig.Array.SizeBytes], sizes);
        Assert.True(rig.Array.SizeBytes > before);
        byte[] all = await driver.ReadOrThrowAsync(0, (int)rig.Array.SizeBytes);
        Assert.True(all.AsSpan(data.Length).IndexOfAnyExcept((byte)0) < 0, "new space is zero");
        Assert.Equal(ArrayHealth.Optimal, rig.Array.GetStatus().Health);
        await rig.StopAsync();

        await rig.AssembleAsync(allowDegraded: false);
        Assert.Null(rig.Array.Reshape);
        await AssertConsistentAsync(rig, "after the reshape");
        driver = await rig.OpenAsync();
        data = Noise(all.Length, 3);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.StopAsync();
        await rig.AssembleAsync(allowDegraded: false);
        IncompatibleFeatures left = next.HasManyParities() ? IncompatibleFeatures.ManyParities : IncompatibleFeatures.None;
        Assert.Equal((left, next), (rig.Array.Control.Superblock.Incompatible, rig.Array.Control.Superblock.Level));
        await AssertConsistentAsync(rig, "of the new array");
    }

    /// <summary>After a kill at any place it goes on, and what was acknowledged is there.</summary>
    [Theory]
    [InlineData(RaidLevel.Raid0, 2, RaidLevel.Raid0, 1)]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid5, 1)]
    [InlineData(RaidLevel.Raid6, 4, RaidLevel.Raid6, 1)]
    [InlineData(RaidLevel.Raid73, 5, RaidLevel.Raid73, 1)]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid6, 1)]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid73, 2)]
    [InlineData(RaidLevel.Raid6, 4, RaidLevel.Raid5, 0)]
    public async Task It_goes_on_after_kills(RaidLevel level, int drives, RaidLevel next, int added)
    {
        await using ArrayRig rig = await MakeAsync(level, drives);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Run = rig.Run with { ResyncMaxBytesPerSecond = 200 << 10 };
        await ReshapeAsync(rig, next, added);
        rig.Array.MaxJobBytesPerSecond = 1 << 20;
        for (int kill = 0; kill < 4; kill++)
        {
            byte[] patch = Noise(Chunk + 512, kill);
            int from = kill * 3 * Chunk;
            Assert.Equal(0, await driver.WriteAsync(from, patch));
            patch.CopyTo(data, from);
            await rig.KillAsync();
            await rig.ReturnDrivesAsync();
            await rig.AssembleAsync();
            driver = await rig.OpenAsync();
            Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data), $"after kill {kill}");
            long done = rig.Array.GetStatus().Reshape?.Progress.DoneBytes ?? long.MaxValue;
            await ArrayRig.WaitAsync(() => (rig.Array.GetStatus().Reshape?.Progress.DoneBytes ?? long.MaxValue) is long now && (now > done || now == long.MaxValue), "progress");
        }

        rig.Array.MaxJobBytesPerSecond = 0;
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus() is { Reshape: null, Resync: null }, "the end of the reshape");
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.StopAsync();
        await rig.AssembleAsync(allowDegraded: false);
        await AssertConsistentAsync(rig, "after kills");
    }

    /// <summary>
    /// A member fails in the midst of it: it goes on without, and the member is filled anew afterwards, as a whole.
    /// </summary>
    [Theory]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid5, 1, 0)]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid5, 1, 3)]
    [InlineData(RaidLevel.Raid6, 4, RaidLevel.Raid6, 1, 4)]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid6, 1, 1)]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid6, 1, 3)]
    [InlineData(RaidLevel.Raid6, 4, RaidLevel.Raid5, 0, 2)]
    public async Task It_goes_on_without_a_member_that_fails(RaidLevel level, int drives, RaidLevel next, int added, int lost)
    {
        await using ArrayRig rig = await MakeAsync(level, drives);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Array.MaxJobBytesPerSecond = 100 << 10;
        await ReshapeAsync(rig, next, added);
        Assert.Equal(0, await driver.WriteAsync(0, data.AsMemory(0, 8 * Chunk)));
        await rig.Drives[lost].VanishAsync();
        Assert.Equal(0, await driver.WriteAsync(0, data.AsMemory(0, 8 * Chunk)));
        await ArrayRig.WaitAsync(() => !rig.Array.Live.IsUsable(lost), "the failure");
        ArrayException refused = await Assert.ThrowsAsync<ArrayException>(() => rig.Array.ReplaceMemberAsync(lost, rig.MakeDrive()));
        Assert.Contains("being reshaped", refused.Message, StringComparison.Ordinal);
        rig.Array.MaxJobBytesPerSecond = 0;
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Reshape is null, "the end of the reshape");
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.StopAsync();

        rig.Drives[lost].Return();
        rig.Run = rig.Run with { RebuildByItself = true };
        await rig.AssembleAsync();
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus() is { Health: ArrayHealth.Optimal }, "the rebuild");
        driver = await rig.OpenAsync();
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.StopAsync();
        await AssertConsistentAsync(rig, "after the rebuild");
    }

    [Theory]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid5, 1)]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid6, 1)]
    [InlineData(RaidLevel.Raid6, 4, RaidLevel.Raid5, 0)]
    public async Task It_is_read_right_in_the_midst_of_it_by_one_who_writes_nothing(
        RaidLevel level, int members, RaidLevel next, int added)
    {
        await using ArrayRig rig = await MakeAsync(level, members);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Array.MaxJobBytesPerSecond = 500 << 10;
        await ReshapeAsync(rig, next, added);
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Reshape is { Progress.DoneBytes: > 0 }, "progress");
        await rig.StopAsync();
        long frontier = (await ArrayBuilder.InspectAsync(rig.Drives, rig.Reactors.Reactor))[0].Superblock!.Reshape!.Frontier;
        Assert.InRange(frontier, 1, data.Length - 1);
        for (int missing = -1; missing < 4; missing++)
        {
            IBlockDevice[] drives = [.. rig.Drives.Where((_, role) => role != missing)];
            Array.ForEach(rig.Drives, d => d.AddFault(new DriveFault { Operation = BlockOperation.Write }));
            await rig.AssembleAsync(drives, readOnly: true);
            driver = await rig.OpenAsync();
            Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data), $"without {missing}");
            Assert.Equal(-Errno.EROFS, await driver.WriteAsync(0, data.AsMemory(0, 512)));
            await rig.StopAsync();
            Array.ForEach(rig.Drives, d => d.ClearFaults());
            Assert.All(await ArrayBuilder.InspectAsync(rig.Drives, rig.Reactors.Reactor), i => Assert.Equal(frontier, i.Superblock!.Reshape!.Frontier));
        }
    }

    [Fact]
    public async Task What_does_not_fit_is_refused_and_nothing_is_changed()
    {
        await using ArrayRig rig = await MakeAsync(RaidLevel.Raid5, 3);
        await using var small = new SimulatedDrive(rig.Drives[0].SizeBytes - 4096, rig.Drives[0].Options);
        await Assert.ThrowsAsync<ArrayException>(() => rig.Array.AddDrivesAsync([small]));
        await Assert.ThrowsAsync<ArrayException>(() => rig.Array.AddDrivesAsync([]));
        await Assert.ThrowsAsync<ArrayException>(() => rig.Array.AddDrivesAsync([rig.Drives[1]]));
        await rig.Array.FailMemberAsync(0);
        Assert.Contains("lacks members", (await Assert.ThrowsAsync<ArrayException>(() => rig.Array.AddDrivesAsync([rig.MakeDrive()]))).Message, StringComparison.Ordinal);
        Assert.Equal(3, rig.Array.GetStatus().Members.Count);
        await using ArrayRig mirror = await ArrayRig.CreateAsync(RaidLevel.Raid1, 2, Chunk, 512 << 10);
        await Assert.ThrowsAsync<ArrayException>(() => mirror.Array.AddDrivesAsync([mirror.MakeDrive()]));
        await Assert.ThrowsAsync<ArrayException>(() => mirror.Array.ReshapeAsync(RaidLevel.Raid5, [mirror.MakeDrive()]));
    }

    /// <summary>
    /// One more drive than both shapes survive is not given up, whatever the new level alone would allow: it is the old shape's,
    /// of which a part still lies on the drives. After the end as many may go as the new level says.
    /// </summary>
    [Theory]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid6, 1, 2)]
    [InlineData(RaidLevel.Raid6, 4, RaidLevel.Raid5, 0, 1)]
    public async Task Until_the_end_it_survives_what_both_shapes_do(
        RaidLevel level, int members, RaidLevel next, int added, int mostAtTheEnd)
    {
        await using ArrayRig rig = await MakeAsync(level, members);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Array.MaxJobBytesPerSecond = 1;
        await ReshapeAsync(rig, next, added);
        await ArrayRig.WaitAsync(() => rig.Array.Live.Reshape!.Frontier > 0, "the first window");
        await rig.Array.FailMemberAsync(0);
        await Assert.ThrowsAsync<ArrayException>(() => rig.Array.FailMemberAsync(1));
        Assert.True(rig.Array.Live.State is { IsBroken: false, HasRedundancyLeft: false });
        Assert.Equal(1, rig.Array.GetStatus().Reshape!.Redundancy);
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        Assert.Equal(0, await driver.WriteAsync(0, data.AsMemory(0, 8 * Chunk)));
        await rig.StopAsync();

        // The same at a start, and to be read only.
        await Assert.ThrowsAsync<ArrayException>(() => rig.AssembleAsync(rig.Drives[2..]));
        await rig.AssembleAsync(rig.Drives[2..], readOnly: true);
        Assert.Equal(ArrayHealth.Failed, rig.Array.GetStatus().Health);
        await rig.StopAsync();

        rig.Run = rig.Run with { ResyncMaxBytesPerSecond = 0 };
        await rig.AssembleAsync(rig.Drives[1..]);
        driver = await rig.OpenAsync();
        rig.Array.MaxJobBytesPerSecond = 0;
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Reshape is null, "the end of the reshape");
        for (int lost = 2; lost <= mostAtTheEnd; lost++)
        {
            await rig.Array.FailMemberAsync(lost - 1);
        }

        await Assert.ThrowsAsync<ArrayException>(() => rig.Array.FailMemberAsync(mostAtTheEnd));
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    /// <summary>
    /// A drive that goes by itself is one too many as well: the array fails, and does not go on by the new level's parities.
    /// </summary>
    [Theory]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid6, 1)]
    [InlineData(RaidLevel.Raid6, 4, RaidLevel.Raid5, 0)]
    public async Task One_drive_too_many_fails_the_array(RaidLevel level, int members, RaidLevel next, int added)
    {
        await using ArrayRig rig = await MakeAsync(level, members);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Array.MaxJobBytesPerSecond = 1;
        await ReshapeAsync(rig, next, added);
        await ArrayRig.WaitAsync(() => rig.Array.Live.Reshape!.Frontier > 0, "the first window");
        long frontier = rig.Array.Live.Reshape!.Frontier;
        await rig.Drives[0].VanishAsync();
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await rig.Drives[1].VanishAsync();
        Assert.Equal(-Errno.EIO, await driver.WriteAsync(0, data));
        Assert.Equal((true, frontier), (rig.Array.Live.State.IsBroken, rig.Array.Live.Reshape!.Frontier));
        Assert.All(
            await ArrayBuilder.InspectAsync(rig.Drives[2..], rig.Reactors.Reactor),
            i => Assert.Equal(frontier, i.Superblock!.Reshape!.Frontier));
    }

    /// <summary>From one parity to two and back, with a stop in between, as often as there is room before the data.</summary>
    [Fact]
    public async Task It_goes_there_and_back()
    {
        await using ArrayRig rig = await MakeAsync(RaidLevel.Raid5, 3);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        (RaidLevel, int)[] ways =
        [
            (RaidLevel.Raid6, 1), (RaidLevel.Raid5, 0), (RaidLevel.Raid6, 1), (RaidLevel.Raid73, 1), (RaidLevel.Raid6, 0),
            (RaidLevel.Raid5, 0),
        ];
        foreach ((RaidLevel level, int added) in ways)
        {
            await ReshapeAsync(rig, level, added);
            await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Reshape is null, $"the end of the reshape to {level}");
            Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data), $"{level}");
            ArrayException early = await Assert.ThrowsAsync<ArrayException>(() => rig.Array.AddDrivesAsync([rig.MakeDrive()]));
            Assert.Contains("stop it, and start it again", early.Message, StringComparison.Ordinal);
            await rig.StopAsync();
            await rig.AssembleAsync(allowDegraded: false);
            Assert.Equal(level, rig.Array.Geometry.Level);
            await AssertConsistentAsync(rig, $"as {level}");
            driver = await rig.OpenAsync();
        }

        Assert.Equal(6, rig.Array.Geometry.MemberCount);
        Assert.True(rig.Array.SizeBytes > 4 * (512 << 10));
    }

    /// <summary>
    /// A member that did not take the superblock by which the reshape begins, and those after it, know nothing of it: they could
    /// start by themselves, as the level that they were. As long as these do not answer, nothing is acknowledged.
    /// </summary>
    [Fact]
    public async Task Nothing_is_acknowledged_while_members_that_do_not_answer_could_start_as_what_they_were()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid6, 4, Chunk, 512 << 10,
            run: new ArrayRunOptions
            {
                CleanAfter = TimeSpan.FromHours(1), Resync = false, RebuildByItself = false,
                SlowAfter = TimeSpan.FromMilliseconds(300),
            });
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, Noise(Chunk, 1)));
        rig.Drives[1].Observer = (drive, step, request) =>
        {
            if (step == SimulatedStep.Taken && SaysReshape(request))
            {
                drive.AddFault(new DriveFault { Operation = BlockOperation.Write, Count = 1 });
            }
        };
        await rig.Array.ReshapeAsync(RaidLevel.Raid5, []);
        rig.Drives[1].Observer = null;
        Assert.NotNull(rig.Array.Live.Reshape);
        DriveInspection[] told = [.. await ArrayBuilder.InspectAsync(rig.Drives, rig.Reactors.Reactor)];
        Assert.Equal([true, false, false, false], told.Select(i => i.Superblock!.Reshape is not null));

        foreach (SimulatedDrive drive in rig.Drives[1..3])
        {
            drive.AddFault(new DriveFault { Operation = BlockOperation.Write, LengthBytes = 128 << 10, Stuck = true });
        }

        ulong events = rig.Array.Live.Control.Superblock.EventCount;
        Task<int> write = driver.WriteAsync(0, Noise(Chunk, 2));
        await ArrayRig.WaitAsync(() => rig.Array.Live.Control.Superblock.EventCount > events, "the update that the write needs");
        await Task.Delay(200);
        Assert.False(write.IsCompleted);
        await rig.ReleaseDrivesAsync();
        Assert.Equal(0, await write);
    }

    /// <summary>
    /// The run's last superblock is with a drive that answers when the run has ended: what would have followed it was called
    /// off, and says nothing of the drive. The next run has it.
    /// </summary>
    [Fact]
    public async Task What_a_member_answers_behind_the_end_of_a_run_does_not_cost_it()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid5, 3, Chunk, 512 << 10,
            run: new ArrayRunOptions
            {
                CleanAfter = TimeSpan.FromHours(1), RebuildByItself = false, SlowAfter = TimeSpan.FromMilliseconds(100),
            });
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Drives[1].Observer = (drive, step, request) =>
        {
            if (step == SimulatedStep.Taken && Says(request, s => (s.State & ArrayStateFlags.Dirty) == 0))
            {
                drive.Observer = null;
                drive.AddFault(new DriveFault { Operation = BlockOperation.Write, LengthBytes = 128 << 10, Stuck = true });
            }
        };
        Task reshape = ReshapeAsync(rig, RaidLevel.Raid6, 1);
        await WaitForEndOfRunAsync(rig.Array);
        Assert.False(reshape.IsCompleted);
        Assert.Equal(0UL, rig.Array.State.LostMask);
        await rig.ReleaseDrivesAsync();
        await reshape;
        Assert.Equal((0UL, 4), (rig.Array.Live.State.LostMask, rig.Array.Live.Members.Length));
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Reshape is null, "the end");
        Assert.Equal(ArrayHealth.Optimal, rig.Array.GetStatus().Health);
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        Assert.DoesNotContain(rig.Snapshot(), e => e.Kind == ArrayEventKind.MemberFailed);
    }

    /// <summary>Waits until a run takes no changes any more, and another has not taken over.</summary>
    private static async Task WaitForEndOfRunAsync(RaidArray array)
    {
        for (int i = 0; i < 3000; i++)
        {
            try
            {
                await array.StopScrubAsync();
            }
            catch (ArrayException e) when (e.Message.Contains("has been stopped", StringComparison.Ordinal))
            {
                return;
            }

            await Task.Delay(10);
        }

        Assert.Fail("The run does not end.");
    }

    /// <summary>An array that is reshaped stripe by stripe.</summary>
    private static Task<ArrayRig> MakeAsync(RaidLevel level, int drives) => ArrayRig.CreateAsync(
        level, drives, Chunk, 512 << 10,
        run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), RebuildByItself = false, ReshapeWindowBytes = 1 });

    /// <summary>What touches the window waits until it is at its new place, what does not goes on.</summary>
    [Fact]
    public async Task A_window_that_is_being_moved_is_closed()
    {
        await using ArrayRig rig = await MakeAsync(RaidLevel.Raid0, 2);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Drives[0].AddFault(new DriveFault
        {
            Operation = BlockOperation.Write, OffsetBytes = rig.Array.Geometry.DataOffset - (2 * Chunk), LengthBytes = Chunk, Stuck = true,
        });
        await AddAsync(rig, 1);
        await ArrayRig.WaitAsync(() => rig.Array.Live.Members[0].InFlight == 1, "the window's first chunk to be on its way");
        byte[] patch = Noise(2 * Chunk, 2);
        Task<int> inside = driver.WriteAsync(2 * Chunk, patch);
        Assert.Equal(0, await driver.WriteAsync(8 * Chunk, patch));
        Assert.Equal((0, false), (rig.Array.Live.Reshape!.Frontier, inside.IsCompleted));
        await rig.ReleaseDrivesAsync();
        Assert.Equal(0, await inside);
        patch.CopyTo(data, 2 * Chunk);
        patch.CopyTo(data, 8 * Chunk);
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Reshape is null, "the end");
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    /// <summary>What was sent before a window is closed reaches its old place before that is read.</summary>
    [Fact]
    public async Task A_window_is_moved_when_what_was_sent_before_is_there()
    {
        await using ArrayRig rig = await MakeAsync(RaidLevel.Raid0, 2);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        RaidGeometry before = rig.Array.Geometry;
        rig.Array.MaxJobBytesPerSecond = Chunk;
        await AddAsync(rig, 1);
        await ArrayRig.WaitAsync(() => rig.Array.Live.Reshape!.Frontier == 3 * Chunk, "the first window");
        MemberPlace place = before.Map(4 * Chunk);
        rig.Drives[place.Member].AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = place.Offset, LengthBytes = Chunk, Stuck = true });
        byte[] patch = Noise(4096, 2);
        Task<int> sent = driver.WriteAsync(4 * Chunk, patch);
        await ArrayRig.WaitAsync(() => rig.Array.Live.Reshape!.Window.From == 3 * Chunk, "the next window");
        Assert.Equal(0, await driver.WriteAsync(20 * Chunk, patch));
        Assert.Equal((3 * Chunk, false), (rig.Array.Live.Reshape!.Frontier, sent.IsCompleted));
        await rig.ReleaseDrivesAsync();
        Assert.Equal(0, await sent);
        rig.Array.MaxJobBytesPerSecond = 0;
        patch.CopyTo(data, 4 * Chunk);
        patch.CopyTo(data, 20 * Chunk);
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Reshape is null, "the end");
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    /// <summary>
    /// A consumer's flush fails while a window is on its way, and the member stays: what it had taken of the window may be lost,
    /// which a drive says once. So the window is moved again before the frontier is recorded.
    /// </summary>
    [Fact]
    public async Task A_window_is_moved_again_when_a_flush_was_refused_meanwhile()
    {
        await using ArrayRig rig = await MakeAsync(RaidLevel.Raid0, 2);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        long first = rig.Array.Geometry.DataOffset - (2 * Chunk);
        int writes = 0;
        rig.Drives[0].Observer = (_, step, request) =>
            writes += step == SimulatedStep.Done && request.Operation == BlockOperation.Write
                && request.OffsetBytes == first ? 1 : 0;
        rig.Drives[0].AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = first, LengthBytes = Chunk, Stuck = true, Count = 1 });
        await AddAsync(rig, 1);
        await ArrayRig.WaitAsync(() => rig.Array.Live.Members[0].InFlight == 1, "the window's first chunk to be on its way");
        rig.Drives[1].AddFault(new DriveFault { Operation = BlockOperation.Flush, Count = 1 });
        Assert.Equal(-Errno.EIO, await driver.FlushAsync());
        await rig.ReleaseDrivesAsync();
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Reshape is null, "the end");
        Assert.Equal(2, writes);
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    /// <summary>Drives come in, and are the rig's.</summary>
    private static Task AddAsync(ArrayRig rig, int count) => ReshapeAsync(rig, null, count);

    /// <summary>The same with another level.</summary>
    private static async Task ReshapeAsync(ArrayRig rig, RaidLevel? level, int count)
    {
        SimulatedDrive[] added = [.. Enumerable.Range(0, count).Select(_ => rig.MakeDrive())];
        await rig.Array.ReshapeAsync(level, added);
        rig.UseDrives([.. rig.Drives, .. added]);
    }

    /// <summary>Whether a superblock is written that speaks of a reshape.</summary>
    private static bool SaysReshape(BlockRequest request) => Says(request, s => s.Reshape is not null);

    /// <summary>Whether a superblock is written, and says something.</summary>
    private static unsafe bool Says(BlockRequest request, Func<ArraySuperblock, bool> what) =>
        request is { Operation: BlockOperation.Write, LengthBytes: SuperblockFormat.SizeBytes }
        && SuperblockFormat.Parse(new ReadOnlySpan<byte>(request.Vectors[0].Base, SuperblockFormat.SizeBytes))
            .Superblock is { } superblock && what(superblock);

    private static async Task AssertConsistentAsync(ArrayRig rig, string because)
    {
        RaidGeometry geometry = rig.Array.Live.Geometry;
        var members = new byte[geometry.MemberCount][];
        for (int i = 0; i < members.Length; i++)
        {
            members[i] = new byte[geometry.MemberDataSize];
            await BlockIo.ReadAsync(rig.Drives[i], rig.Reactors.Reactor, geometry.DataOffset, members[i]);
        }

        string? wrong = Polyblk.Simulation.Tests.MemberCheck.Find(geometry, members);
        Assert.True(wrong is null, $"{wrong}: {because}");
    }
}
