// One row, every set of members that refuse a write of it, every shape of the write, before and after losses: what can be read
// afterwards is what was there before or what was written, and only blocks of lost members end with an error.

using System.Numerics;
using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class RefusedRowTests
{
    private const int Chunk = 4096;

    public static TheoryData<RaidLevel, int, int, int> Shapes => new()
    {
        // level, drives, lost, errno
        { RaidLevel.Raid5, 3, 0, Errno.ENOSPC },
        { RaidLevel.Raid5, 3, 0, Errno.EIO },
        { RaidLevel.Raid5, 4, 1, Errno.ENOSPC },
        { RaidLevel.Raid5, 4, 1, Errno.EIO },
        { RaidLevel.Raid6, 5, 0, Errno.EIO },
        { RaidLevel.Raid6, 5, 1, Errno.ENOSPC },
        { RaidLevel.Raid6, 5, 1, Errno.EIO },
        { RaidLevel.Raid6, 5, 2, Errno.EIO },
        { RaidLevel.Raid10, 4, 1, Errno.EIO },
        { RaidLevel.Raid1, 3, 1, Errno.EIO },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public async Task Whoever_refuses_nothing_foreign_is_read(RaidLevel level, int drives, int lost, int errno)
    {
        for (ulong refusing = 1; refusing < 1UL << drives; refusing++)
        {
            if ((refusing & ((1UL << lost) - 1)) != 0)
            {
                continue;
            }

            await using ArrayRig rig = await ArrayRig.CreateAsync(
                level, drives, Chunk, 16 << 10, run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), ResyncRetryAfter = TimeSpan.FromHours(1) });
            RequestDriver driver = await rig.OpenAsync();
            byte[] before = TestBytes.Noise((int)rig.Array.SizeBytes, 1);
            Assert.Equal(0, await driver.WriteAsync(0, before));
            for (int i = 0; i < lost; i++)
            {
                await rig.Drives[i].VanishAsync();
            }

            Assert.Equal(0, await driver.FlushAsync());
            var after = (byte[])before.Clone();
            int stripe = (int)rig.Array.Geometry.StripeDataSize;
            foreach ((int offset, int length) in new[] { (512, 1024), (stripe - 2048, 2048), (stripe + 2048, Chunk), (2 * stripe, stripe) })
            {
                string what = $"{level}, members {refusing:b} refuse {length} bytes at {offset}";
                for (ulong left = refusing; left != 0; left &= left - 1)
                {
                    rig.Drives[BitOperations.TrailingZeroCount(left)].AddFault(
                        new DriveFault { Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset, Errno = errno });
                }

                byte[] data = TestBytes.Noise(length, offset);
                data.CopyTo(after, offset);
                int status = await driver.WriteAsync(offset, data);
                Array.ForEach(rig.Drives, d => d.ClearFaults());
                Assert.True(status == 0 || status == (errno == Errno.ENOSPC ? -Errno.ENOSPC : -Errno.EIO), $"{what}: {status}");
                Assert.False(rig.Array.State.IsBroken, what);
                if (status == 0)
                {
                    data.CopyTo(before, offset);
                }

                await CheckAsync(rig, driver, before, after, what);
            }

            await ArrayRig.WaitForLocksAsync(rig.Array);
            if (rig.Array.State.BadMask != 0)
            {
                await rig.Array.StartScrubAsync(repair: true);
                await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Scrub is { EndedAt: not null }, "the repair");
                Assert.True(rig.Array.State.BadMask == 0 || rig.Array.GetStatus().RangesInDoubt != 0);
            }

            ulong failed = rig.Array.State.FailedMask;
            if (rig.Array.GetStatus().RangesInDoubt == 0 && BitOperations.PopCount(failed) < 2)
            {
                await rig.AssertConsistentAsync($"members {refusing:b} refused", failed);
            }
        }
    }

    private static long UnitOf(ArrayRig rig, long offset, MemberPlace place) =>
        rig.Array.Geometry.HasParity ? (place.Offset - ArrayRig.DataOffset) / Chunk : offset / Chunk;

    private static async Task CheckAsync(ArrayRig rig, RequestDriver driver, byte[] before, byte[] after, string what)
    {
        for (int at = 0; at < before.Length; at += 512)
        {
            (int status, byte[] read) = await driver.ReadAsync(at, 512);
            MemberPlace[] places = rig.Array.Geometry.CopyCount > 1
                ? [.. Enumerable.Range(0, rig.Array.Geometry.CopyCount).Select(copy => rig.Array.Geometry.Copy(at, copy))]
                : [rig.Array.Geometry.Map(at)];
            bool mayFail = places.All(
                p => !rig.Array.IsUsable(p.Member) || ((rig.Array.State.BadAt(UnitOf(rig, at, p)) >> p.Member) & 1) != 0);
            Assert.True(status == 0 || (status == -Errno.EIO && mayFail), $"{what}: status {status} at {at}");
            bool known = status != 0 || read.AsSpan().SequenceEqual(before.AsSpan(at, 512)) || read.AsSpan().SequenceEqual(after.AsSpan(at, 512));
            Assert.True(known, $"{what}: what is read at {at} was never written there");
        }
    }
}
