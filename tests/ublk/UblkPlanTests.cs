// The choice of the copy mode, the options, and the marks of exports.

using Polyblk.Core.Block;
using Polyblk.Drives.Ram;

namespace Polyblk.Frontends.Ublk.Tests;

public sealed class UblkPlanTests
{
    private const UblkFeatures Linux612 = (UblkFeatures)0x1fe, Linux73 = (UblkFeatures)0x1fffff;

    [Theory]
    [InlineData(Linux73, false, false, UblkCopyMode.ZeroCopy, true, true)]
    [InlineData(Linux73, false, true, UblkCopyMode.ZeroCopy, true, false)] // parity: reads only
    [InlineData(Linux73, true, false, UblkCopyMode.ZeroCopy, false, true)]
    [InlineData(Linux73, true, true, UblkCopyMode.Copy, false, false)] // RAM
    [InlineData(Linux612, false, false, UblkCopyMode.Copy, false, false)]
    public void Auto_takes_what_volume_and_kernel_allow(
        UblkFeatures features, bool cpuReads, bool cpuWrites, UblkCopyMode mode, bool zeroCopyReads, bool zeroCopyWrites)
    {
        var limits = new BlockLimits { NeedsCpuAccessForReads = cpuReads, NeedsCpuAccessForWrites = cpuWrites };
        UblkPlan plan = UblkPlan.Choose("auto", features, limits, unprivileged: false);
        Assert.Equal((mode, zeroCopyReads, zeroCopyWrites), (plan.Mode, plan.ZeroCopyReads, plan.ZeroCopyWrites));
        Assert.NotEmpty(plan.Reason);
        Assert.Equal(mode == UblkCopyMode.ZeroCopy, plan.Flags.HasFlag(UblkFeatures.AutoBufReg | UblkFeatures.UserCopy));
    }

    [Theory]
    [InlineData("zero-copy", Linux612, false, false)]
    [InlineData("zero-copy", Linux73, true, false)]
    [InlineData("zero-copy", Linux73, false, true)]
    [InlineData("user-copy", Linux73, false, true)]
    [InlineData("user-copy", UblkFeatures.None, false, false)]
    [InlineData("fast", Linux73, false, false)]
    public void A_mode_that_cannot_be_had_is_an_error(string mode, UblkFeatures features, bool needsCpu, bool unprivileged)
    {
        var limits = new BlockLimits { NeedsCpuAccessForReads = needsCpu, NeedsCpuAccessForWrites = needsCpu };
        FrontendException e = Assert.Throws<FrontendException>(() => UblkPlan.Choose(mode, features, limits, unprivileged));
        Assert.Contains("use", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("copy", UblkCopyMode.Copy)]
    [InlineData("user-copy", UblkCopyMode.UserCopy)]
    [InlineData("zero-copy", UblkCopyMode.ZeroCopy)]
    public void A_mode_that_is_asked_for_is_taken_and_found_again_in_the_flags(string name, UblkCopyMode mode)
    {
        UblkPlan plan = UblkPlan.Choose(name, Linux73, new BlockLimits(), unprivileged: false);
        Assert.Equal(mode, plan.Mode);
        Assert.Equal(mode, UblkPlan.ForRecovered(plan.Flags | UblkFeatures.UserRecovery, new BlockLimits()).Mode);
    }

    [Fact]
    public void A_recovered_device_copies_what_its_volume_now_must_see()
    {
        var degraded = new BlockLimits { NeedsCpuAccessForReads = true, NeedsCpuAccessForWrites = true };
        UblkPlan plan = UblkPlan.ForRecovered(UblkFeatures.AutoBufReg | UblkFeatures.UserCopy, degraded);
        Assert.Equal((UblkCopyMode.ZeroCopy, false, false), (plan.Mode, plan.ZeroCopyReads, plan.ZeroCopyWrites));
    }

    [Theory]
    [InlineData("max-io", "512KiB", 512 << 10)]
    [InlineData("max-io", "1M", 1 << 20)]
    [InlineData("max-io", "131072", 131072)]
    public async Task Reads_sizes(string name, string value, int expected)
    {
        await using var drive = new RamDrive(1 << 20);
        Assert.Equal(expected, UblkSpec.Read(Spec(drive, (name, value)), 2).MaxIoBytes);
    }

    [Theory]
    [InlineData("max-io", "64MiB")]
    [InlineData("max-io", "-4")]
    [InlineData("max-io", "big")]
    [InlineData("number", "-1")]
    [InlineData("number", "1048576")]
    public async Task Refuses_bad_options(string name, string value)
    {
        await using var drive = new RamDrive(1 << 20);
        Assert.Throws<FrontendOptionException>(() => UblkSpec.Read(Spec(drive, (name, value)), 2));
    }

    [Fact]
    public async Task Queues_default_to_the_reactors_and_are_bounded()
    {
        await using var drive = new RamDrive(1 << 20);
        UblkSpec spec = UblkSpec.Read(Spec(drive, ("unprivileged", "")), 3);
        Assert.Equal((3, 128, true, "auto", null), (spec.Queues, spec.Depth, spec.Unprivileged, spec.CopyMode, spec.Number));
        Assert.Throws<FrontendOptionException>(() => UblkSpec.Read(Spec(drive) with { Queues = 0 }, 1));
        Assert.Throws<FrontendOptionException>(() => UblkSpec.Read(Spec(drive) with { QueueSize = 4097 }, 1));
    }

    private static ExportSpec Spec(IBlockDevice device, params (string Name, string Value)[] options) => new()
    {
        Id = "data/ublk/0", VolumeName = "data", Device = device, Options = options.ToDictionary(o => o.Name, o => o.Value),
    };

    [Theory]
    [InlineData(UblkFeatures.UserRecovery, false, 128, 129, 128)]
    [InlineData(UblkFeatures.UserRecovery, false, 1, 5, 4)]
    [InlineData(UblkFeatures.UserRecovery, false, 4096, 4096, 4095)]
    [InlineData(UblkFeatures.UserRecovery | UblkFeatures.Quiesce, false, 128, 128, 128)]
    [InlineData(UblkFeatures.UserRecovery, true, 128, 128, 128)]
    public void Old_drivers_get_a_tag_that_is_never_used(UblkFeatures features, bool unprivileged, int wanted, int tags, int requests)
    {
        var depth = UblkDepth.For(new UblkSpec("auto", unprivileged, 1, wanted, null, null), features);
        Assert.Equal(new UblkDepth(tags, requests), depth);
        Assert.Equal(requests < tags, depth.KeepsTagIdle);
    }
}
