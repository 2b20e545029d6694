using Polyblk.Fakes;
using Polyblk.Frontends.Vduse;

namespace Polyblk.Vduse.Tests;

public sealed class NodeUsersTests
{
    /// <summary>/dev/full stands for a device: hardly anybody else has it open.</summary>
    [Fact]
    public void WhoHasANodeOpenIsFoundByTheDevicesNumber()
    {
        Assert.Null(NodeUsers.Find("/dev/full"));
        using (File.OpenHandle("/dev/full"))
        {
            Assert.Equal($"process {Environment.ProcessId} has it open", NodeUsers.Find("/dev/full"));

            // The same node by another path, as a container has it.
            Assert.Equal($"process {Environment.ProcessId} has it open", NodeUsers.Find("/proc/self/root/dev/full"));
        }

        Assert.Null(NodeUsers.Find("/dev/full"));
    }

    /// <summary>As udev opens each new disk for a moment.</summary>
    [Fact]
    public async Task WhoOnlyLooksAtANodeIsWaitedFor()
    {
        using (File.OpenHandle("/dev/full"))
        {
            var patient = new JumpingTime();
            Assert.NotNull(await NodeUsers.FindLastingAsync("/dev/full", patient, CancellationToken.None));
            Assert.Equal(TimeSpan.FromMilliseconds(900), patient.Passed);
        }

        var time = new ManualTime();
        Task<string?> lasting;
        using (File.OpenHandle("/dev/full"))
        {
            lasting = NodeUsers.FindLastingAsync("/dev/full", time, CancellationToken.None);
            time.Advance(TimeSpan.FromMilliseconds(100));
            Assert.False(lasting.IsCompleted);
        }

        time.Advance(TimeSpan.FromMilliseconds(100));
        Assert.Null(await lasting);
    }

    [Fact]
    public void WhatIsNoDeviceHasNoUsers()
    {
        string file = Path.GetTempFileName();
        using (File.OpenHandle(file))
        {
            Assert.Null(NodeUsers.Find(file));
            Assert.Null(NodeUsers.Find(file + ".absent"));
        }

        File.Delete(file);
    }
}
