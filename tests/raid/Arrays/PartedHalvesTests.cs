// A mirror whose halves go on by themselves, as on two hosts: never merged.

using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class PartedHalvesTests
{
    /// <summary>
    /// The first update reaches one of the two before the process dies; then each is started alone, killed, and both are here
    /// again. The event counts alone call the one that was behind a drive that was away.
    /// </summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public async Task Halves_that_were_an_event_apart_and_went_on_alone_are_not_merged(int ahead)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, 2, memberBytes: 1 << 20);
        SimulatedDrive[] both = rig.Drives;
        RequestDriver driver = await rig.OpenAsync();
        both[1 - ahead].AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = 0, LengthBytes = SuperblockFormat.MinDataOffset, Stuck = true });
        Task<int> write = driver.WriteAsync(0, new byte[4096]);
        await ArrayRig.WaitAsync(() => EventsOf(rig, both[ahead]) == 2, "the first update");
        await rig.KillAsync();
        await both[1 - ahead].ReleaseStuckAsync();
        await write.WaitAsync(TimeSpan.FromSeconds(30));
        both[1 - ahead].ClearFaults();
        await rig.ReturnDrivesAsync();
        Assert.Equal((2ul, 1ul), (EventsOf(rig, both[ahead]), EventsOf(rig, both[1 - ahead])));
        foreach (SimulatedDrive half in both)
        {
            rig.UseDrives([half]);
            await rig.AssembleAsync();
            driver = await rig.OpenAsync();
            Assert.Equal(0, await driver.WriteAsync(0, new byte[4096]));
            await rig.KillAsync();
            await rig.ReturnDrivesAsync();
        }

        rig.UseDrives(both);
        ArrayException error = await Assert.ThrowsAsync<ArrayException>(() => rig.AssembleAsync());
        Assert.Contains("was used apart", error.Message, StringComparison.Ordinal);
    }

    private static ulong? EventsOf(ArrayRig rig, SimulatedDrive drive) =>
        ArrayBuilder.InspectAsync([drive], rig.Reactors.Reactor).GetAwaiter().GetResult()[0].Superblock?.EventCount;
}
