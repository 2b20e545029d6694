// Drives that are added: the volume is spread over them while consumers use it, over stops, crashes and losses of members.

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

    public static TheoryData<RaidLevel, int, int> Shapes => new()
    {
        { RaidLevel.Raid0, 2, 1 }, { RaidLevel.Raid0, 1, 2 }, { RaidLevel.Raid5, 3, 1 }, { RaidLevel.Raid5, 4, 2 }, { RaidLevel.Raid6, 4, 1 },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public async Task The_volume_is_spread_over_the_new_drives_and_then_grows(RaidLevel level, int drives, int added)
    {
        await using ArrayRig rig = await MakeAsync(level, drives);
        long before = rig.Array.SizeBytes;
        var sizes = new List<long>();
        rig.Array.Resized += device => sizes.Add(device.SizeBytes);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)before, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));

        await AddAsync(rig, added);
        while (rig.Array.GetStatus().Reshape is not null)
        {
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
        Assert.Equal(IncompatibleFeatures.None, rig.Array.Control.Superblock.Incompatible);
        await AssertConsistentAsync(rig, "of the new array");
    }

    /// <summary>After a kill at any place it goes on, and what was acknowledged is there.</summary>
    [Theory]
    [InlineData(RaidLevel.Raid0, 2)]
    [InlineData(RaidLevel.Raid5, 3)]
    [InlineData(RaidLevel.Raid6, 4)]
    public async Task It_goes_on_after_kills(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await MakeAsync(level, drives);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Run = rig.Run with { ResyncMaxBytesPerSecond = 200 << 10 };
        await AddAsync(rig, 1);
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
    [InlineData(RaidLevel.Raid5, 3, 0)]
    [InlineData(RaidLevel.Raid5, 3, 3)]
    [InlineData(RaidLevel.Raid6, 4, 4)]
    public async Task It_goes_on_without_a_member_that_fails(RaidLevel level, int drives, int lost)
    {
        await using ArrayRig rig = await MakeAsync(level, drives);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Array.MaxJobBytesPerSecond = 100 << 10;
        await AddAsync(rig, 1);
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

    [Fact]
    public async Task It_is_read_right_in_the_midst_of_it_by_one_who_writes_nothing()
    {
        await using ArrayRig rig = await MakeAsync(RaidLevel.Raid5, 3);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Array.MaxJobBytesPerSecond = 500 << 10;
        await AddAsync(rig, 1);
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
    private static async Task AddAsync(ArrayRig rig, int count)
    {
        SimulatedDrive[] added = [.. Enumerable.Range(0, count).Select(_ => rig.MakeDrive())];
        await rig.Array.AddDrivesAsync(added);
        rig.UseDrives([.. rig.Drives, .. added]);
    }

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
