// A queue that fails by an error of ours ends its session, and nobody waits for it.

using Polyblk.Virtio.VhostUser;
using static Polyblk.Virtio.VhostUser.VhostUserRequest;

namespace Polyblk.VhostUser.Tests;

public sealed class DroppedTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void An_error_of_ours_in_a_queue_ends_its_session_alone_and_holds_up_no_stop(bool withOneInFlight)
    {
        using var fixture = new ExportFixture();
        using var memory = new SharedMemory(1 << 16, 0x1000_0000);
        using var bad = new RawRing(memory);
        using var badToo = new RawRing(memory, 0x8000);
        using var otherMemory = new SharedMemory(1 << 16, 0x1000_0000);
        using var good = new RawRing(otherMemory);
        using RawFrontend other = Connect(fixture, otherMemory);
        Start(other, good, 0);
        using RawFrontend f = Connect(fixture, memory);
        Start(f, bad, 0);
        Start(f, badToo, 1);
        if (withOneInFlight)
        {
            fixture.Gated.Hold();
            badToo.Read(0);
            ExportFixture.Until(() => fixture.Gated.Held == 1, "a request is in flight in another queue of the session");
        }

        fixture.Gated.Throws = true;
        bad.Read(0);
        ExportFixture.Until(() => fixture.Reactors.Faults.Count != 0, "the reactor drops the queue");
        fixture.Gated.Throws = false;
        fixture.Gated.Release();
        Assert.True(f.IsEnded());
        ExportFixture.Until(
            () => fixture.Log.Lines.Any(l => l.Contains("An error of ours ended the queue (InvalidData", StringComparison.Ordinal)),
            "the log says why: " + string.Join("\n", fixture.Log.Lines));
        good.Read(0);
        Assert.Equal(0, good.Wait());
        fixture.Reactors.ForgetFaults();

        // That the export stops is a part of the test: the fixture waits for it.
    }

    private static RawFrontend Connect(ExportFixture fixture, SharedMemory memory)
    {
        RawFrontend f = fixture.Connect();
        f.Negotiate();
        f.Send(SET_MEM_TABLE, RawFrontend.Table(memory.Region), [memory.Fd]);
        return f;
    }

    private static void Start(RawFrontend f, RawRing ring, uint index)
    {
        f.Send(SET_VRING_NUM, new vhost_vring_state { index = index, num = RawRing.Size });
        f.Send(SET_VRING_ADDR, ring.Address(index));
        f.Send(SET_VRING_KICK, (ulong)index, [ring.KickFd]);
        f.Send(SET_VRING_ENABLE, new vhost_vring_state { index = index, num = 1 });
    }
}
