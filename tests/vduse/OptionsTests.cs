using Polyblk.Drives.Null;
using Polyblk.Frontends;
using Polyblk.Frontends.Vduse;

namespace Polyblk.Vduse.Tests;

public sealed class OptionsTests
{
    [Fact]
    public void DefaultsFollowTheReactors()
    {
        VduseOptions options = VduseOptions.From(Spec([]), 3);
        Assert.Equal(new VduseOptions("data", VdpaAttachment.None, 3, 256, Packed: false, PinMemory: false), options);
    }

    [Theory]
    [InlineData("attach", "both", "use virtio, vhost or none")]
    [InlineData("vduse-name", "a/b", "is no name for a VDUSE device")]
    [InlineData("vduse-name", "control", "is no name for a VDUSE device")]
    [InlineData("packed", "yes", "use on or off")]
    public void WhatIsNotPossibleIsSaid(string name, string value, string message)
    {
        FrontendOptionException error = Assert.Throws<FrontendOptionException>(() => VduseOptions.From(Spec(new() { [name] = value }), 1));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0, 128)]
    [InlineData(257, 128)]
    [InlineData(1, 100)]
    [InlineData(1, 2048)]
    public void QueuesHaveLimits(int queues, int size) =>
        Assert.Throws<FrontendOptionException>(() => VduseOptions.From(Spec([]) with { Queues = queues, QueueSize = size }, 1));

    [Fact]
    public void CommandsFitTheAttachment()
    {
        VduseOptions options = VduseOptions.From(Spec([]), 1);
        Assert.Contains(AttachCommandList.Make(options, "/dev/vduse/data"), c => c.Text == "vdpa dev add name data mgmtdev vduse");
        Assert.All(
            AttachCommandList.Make(options with { Attachment = VdpaAttachment.Vhost }, "/dev/vhost-vdpa-3"),
            c => Assert.Contains("vhost-vdpa-device-pci,vhostdev=/dev/vhost-vdpa-3", c.Text, StringComparison.Ordinal));
        IReadOnlyList<AttachCommand> block = AttachCommandList.Make(options with { Attachment = VdpaAttachment.Virtio }, "/dev/vdb");
        Assert.Equal(["docker", "kubernetes", "fio"], block.Select(c => c.Consumer));
        Assert.All(block, c => Assert.Contains("/dev/vdb", c.Text, StringComparison.Ordinal));
    }

    /// <summary>Machines without the module get told what to do; those with it, what was found.</summary>
    [Fact]
    public void TheProbeSaysWhatToDo()
    {
        FrontendProbe probe = new VduseFrontend().Probe();
        Assert.NotEmpty(probe.Summary);
        Assert.Equal(File.Exists("/dev/vduse/control"), probe.Available);
        Assert.True(probe.Available || probe.Remedies.Count != 0);
    }

    private static ExportSpec Spec(Dictionary<string, string> options) =>
        new() { Id = "data/vduse/0", VolumeName = "data", Device = new NullDrive(1 << 20), Options = options };
}
