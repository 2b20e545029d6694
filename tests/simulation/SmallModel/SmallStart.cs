// A start from what a loss of power has left, without some members: what it gives.

using Polyblk.Fakes;
using Polyblk.Raid;
using Polyblk.Raid.Layout;

namespace Polyblk.Simulation.Tests.SmallModel;

/// <summary>What a start gave.</summary>
/// <param name="IsRefused">Whether it took force to start.</param>
/// <param name="Found">What was read, at once.</param>
/// <param name="Wrong">What is wrong whatever the consumer knew, or null.</param>
/// <param name="Geometry">The array's.</param>
internal sealed record SmallStart(bool IsRefused, byte[] Found, string? Wrong, RaidGeometry Geometry)
{
    /// <summary>Starts the array, reads everything, waits for the resync, and reads again.</summary>
    public static SmallStart Of(SmallArray shape, World world, SmallImage[] images, ulong lost)
    {
        Task<SmallStart> task = StartAsync(shape, world, images, lost);
        world.Run(() => task.IsCompleted, task);
        return task.Result;
    }

    private static async Task<SmallStart> StartAsync(SmallArray shape, World world, SmallImage[] images, ulong lost)
    {
        SmallDrive[] drives = [.. images.Select((image, i) => new SmallDrive(i, image.Copy())).Where(d => ((lost >> d.Index) & 1) == 0)];
        (RaidArray array, bool isRefused) = await AssembleAsync(shape, world, drives);
        RequestDriver driver = await RequestDriver.OpenAsync(array, world.Reactors[0]);
        byte[] found = await driver.ReadOrThrowAsync(0, (int)shape.VolumeBytes);
        string? wrong = (array.State.LostMask & ~(lost | shape.AwayMask)) != 0
            ? $"members {array.State.LostMask:b} are out, and only {lost:b} are missing"
            : null;
        if (array.State.LostMask == 0)
        {
            await WaitForResyncAsync(array, world);
            byte[][] members = [.. drives.Take(array.Geometry.MemberCount).Select(d => d.Image.Read(array.Geometry.DataOffset, array.Geometry.MemberDataSize))];
            wrong ??= MemberCheck.Find(array.Geometry, members);
            byte[] again = await driver.ReadOrThrowAsync(0, (int)shape.VolumeBytes);
            wrong ??= found.AsSpan().SequenceEqual(again) ? null : "what was read has changed by itself";
        }

        long called = array.GetStatus().Members.Sum(m => m.ChecksumErrors ?? 0);
        wrong ??= called == 0 ? null : $"{called} blocks are called wrong that nobody has changed";
        await driver.DisposeAsync();
        await array.AbandonAsync();
        return new SmallStart(isRefused, found, wrong, array.Geometry);
    }

    private static async Task<(RaidArray Array, bool IsRefused)> AssembleAsync(SmallArray shape, World world, SmallDrive[] drives)
    {
        try
        {
            return (await shape.AssembleAsync(world, drives), false);
        }
        catch (ArrayException)
        {
            return (await shape.AssembleAsync(world, drives, force: true), true);
        }
    }

    private static async Task WaitForResyncAsync(RaidArray array, World world)
    {
        for (int i = 0; array.Live.State.NeedsResync || array.Live.Reshaping is not null; i++)
        {
            if (i == 10_000)
            {
                throw new Lives.LifeException("the resync, or the reshape, does not end");
            }

            await Task.Delay(TimeSpan.FromMilliseconds(array.Reshape is null ? 20 : 1), world.Clock);
        }
    }
}
