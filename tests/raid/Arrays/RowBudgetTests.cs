// How many rows of stripes are under way at a time: by the bytes that they touch, not by what a row could be.

using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class RowBudgetTests
{
    private const int Chunk = 64 << 10;
    private const int Drives = 24;
    private const int Blocks = Drives + 2; // a row has room for the parities twice
    private const long Budget = 8 << 20;

    [Fact]
    public async Task Small_writes_to_a_wide_array_are_all_under_way_at_once()
    {
        const int Writes = 48;
        await using ArrayRig rig = await CreateAsync();
        RequestDriver driver = await OpenMarkedAsync(rig);
        long before = rig.Drives.Sum(d => d.Reads);
        Array.ForEach(rig.Drives, d => d.AddFault(new DriveFault { Operation = BlockOperation.Read, Stuck = true }));
        Task<int>[] writes = [.. Enumerable.Range(0, Writes).Select(i => driver.WriteAsync(i * rig.Array.Geometry.StripeDataSize, new byte[4096]))];

        // The old block and both parities of each.
        await ArrayRig.WaitAsync(() => rig.Drives.Sum(d => d.Reads) == before + (3 * Writes), "all of them at the drives");
        await rig.ReleaseDrivesAsync();
        Assert.All(await Task.WhenAll(writes).WaitAsync(TimeSpan.FromSeconds(30)), status => Assert.Equal(0, status));
        await rig.AssertConsistentAsync("after small writes");
    }

    [Fact]
    public async Task Whole_stripes_are_held_to_the_bytes_of_the_budget()
    {
        const int Writes = 16;
        const int Most = (int)(Budget / (Blocks * Chunk)) + 1;
        await using ArrayRig rig = await CreateAsync();
        RequestDriver driver = await OpenMarkedAsync(rig);
        long before = rig.Drives.Sum(d => d.Requests);
        Array.ForEach(rig.Drives, d => d.AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset, Stuck = true }));
        var data = new byte[rig.Array.Geometry.StripeDataSize];
        new Random(1).NextBytes(data);
        Task<int>[] writes = [.. Enumerable.Range(0, Writes).Select(i => driver.WriteAsync(i * data.Length, data))];
        await ArrayRig.WaitAsync(() => rig.Drives.Sum(d => d.Requests) >= before + (Most * Drives), "the first of them at the drives");
        await Task.Delay(50);
        Assert.Equal(before + (Most * Drives), rig.Drives.Sum(d => d.Requests));
        await rig.ReleaseDrivesAsync();
        Assert.All(await Task.WhenAll(writes).WaitAsync(TimeSpan.FromSeconds(30)), status => Assert.Equal(0, status));
        for (int i = 0; i < Writes; i++)
        {
            Assert.True((await driver.ReadOrThrowAsync(i * data.Length, data.Length)).AsSpan().SequenceEqual(data));
        }

        await rig.AssertConsistentAsync("after whole stripes");
    }

    private static Task<ArrayRig> CreateAsync() => ArrayRig.CreateAsync(
        RaidLevel.Raid6,
        Drives,
        Chunk,
        4 << 20,
        run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), RebuildByItself = false, RowMemoryBytes = Budget },
        consistency: ArrayConsistency.Bitmap);

    /// <summary>All regions are marked: writes wait for no superblock.</summary>
    private static async Task<RequestDriver> OpenMarkedAsync(ArrayRig rig)
    {
        RequestDriver driver = await rig.OpenAsync();
        for (long at = 0; at < rig.Array.SizeBytes; at += 512 << 10)
        {
            Assert.Equal(0, await driver.WriteAsync(at, new byte[4096]));
        }

        return driver;
    }
}
