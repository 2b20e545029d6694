using Polyblk.Core.Block;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Tests.Arrays;

/// <summary>Requests whose memory only the kernel reaches, as a ublk device with zero copy sends them.</summary>
public sealed class KernelBufferTests
{
    private static readonly BufferLayout KernelOnly = new(Traits: BufferTraits.None);

    [Theory]
    [InlineData(RaidLevel.Raid5, 3)]
    [InlineData(RaidLevel.Raid6, 4)]
    [InlineData(RaidLevel.Raid73, 5)]
    public async Task A_parity_array_refuses_only_what_it_would_have_to_compute(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives);
        byte[] data = new byte[256 << 10];
        new Random(5).NextBytes(data);
        Assert.True(rig.Array.Limits.NeedsCpuAccessForWrites);
        await using (RequestDriver driver = await RequestDriver.OpenAsync(rig.Array, rig.Reactors.Reactor))
        {
            Assert.Equal(0, await driver.WriteAsync(0, data));

            // For reads the members' needs count, not the array's.
            Assert.Equal(rig.Drives.Any(d => d.Limits.NeedsCpuAccessForReads), rig.Array.Limits.NeedsCpuAccessForReads);
        }

        await rig.StopAsync();
        await rig.AssembleAsync([.. rig.Drives.Skip(1)]);
        await using (RequestDriver driver = await RequestDriver.OpenAsync(rig.Array, rig.Reactors.Reactor))
        {
            (int status, _) = await driver.ReadAsync(0, data.Length, KernelOnly);
            Assert.Equal(-Errno.EFAULT, status);
            (status, byte[] again) = await driver.ReadAsync(0, data.Length);
            Assert.Equal(0, status);
            Assert.Equal(data, again);
        }

        await rig.StopAsync();
    }
}
