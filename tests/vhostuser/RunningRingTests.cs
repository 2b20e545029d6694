using Polyblk.Core.Interop;
using Polyblk.Virtio;
using Polyblk.Virtio.VhostUser;
using static Polyblk.Virtio.VhostUser.VhostUserRequest;

namespace Polyblk.VhostUser.Tests;

/// <summary>
/// Messages that come while a ring runs: what would change the ground under it ends the session, the rest leaves it as it is.
/// </summary>
public sealed class RunningRingTests : IDisposable
{
    private const ulong Features = (1UL << 32) | VhostUserAbi.VHOST_USER_F_PROTOCOL_FEATURES;

    private readonly ExportFixture _fixture = new();
    private readonly SharedMemory _memory = new(1 << 16, guestAddress: 0x1000_0000);
    private readonly RawRing _ring;

    public RunningRingTests() => _ring = new RawRing(_memory);

    public void Dispose()
    {
        _fixture.Dispose();
        _ring.Dispose();
        _memory.Dispose();
    }

    [Theory]
    [InlineData(SET_VRING_NUM, 4u)]
    [InlineData(SET_VRING_NUM, (uint)RawRing.Size)]
    [InlineData(SET_VRING_BASE, 0u)]
    [InlineData(SET_VRING_BASE, 1u)]
    public void The_size_and_the_base_of_a_ring_are_set_before_it_runs(VhostUserRequest request, uint value)
    {
        using (RawFrontend f = Running())
        {
            f.Send(request, new vhost_vring_state { num = value });
            Assert.True(f.IsEnded());
            Logged($"{request} for queue 0, which runs");
        }

        // Stopped, it takes them, and runs again.
        using RawFrontend g = Running();
        g.Send(GET_VRING_BASE, new vhost_vring_state());
        uint at = g.Reply<vhost_vring_state>(GET_VRING_BASE).num;
        Assert.Equal(0UL, g.Acked(SET_VRING_NUM, new vhost_vring_state { num = RawRing.Size }));
        Assert.Equal(0UL, g.Acked(SET_VRING_BASE, new vhost_vring_state { num = at }));
        g.Send(SET_VRING_KICK, 0UL, [_ring.KickFd]);
        Works();
    }

    [Fact]
    public void Features_do_not_change_under_a_ring_that_runs()
    {
        using RawFrontend f = Running();
        f.Send(SET_FEATURES, Features | VirtioFeatures.VIRTIO_F_EVENT_IDX);
        Assert.True(f.IsEnded());
        Logged("while queues run");
    }

    [Fact]
    public void Only_logging_may_be_switched_under_a_ring_that_runs()
    {
        using RawFrontend f = Running();
        Assert.Equal(0UL, f.Acked(SET_FEATURES, Features));
        Assert.Equal(0UL, f.Acked(SET_FEATURES, Features | VhostUserAbi.VHOST_F_LOG_ALL));
        Works();
        Assert.Equal(0UL, f.Acked(SET_FEATURES, Features));
        Works();
    }

    [Theory]
    [InlineData(1, 128, 1000UL)]
    [InlineData(1, 128, 0UL)]
    [InlineData(4, 128, 4096UL)]
    [InlineData(0, 128, 65536UL)]
    [InlineData(257, 128, 65536UL)]
    [InlineData(65535, 65535, 65536UL)]
    [InlineData(1, 0, 65536UL)]
    [InlineData(1, 65535, 65536UL)]
    [InlineData(1, 128, 65537UL)]
    [InlineData(1, 128, ulong.MaxValue)]
    public void An_inflight_buffer_that_cannot_be_is_refused(int queues, int queueSize, ulong mmapSize)
    {
        var description = new VhostUserInflight { num_queues = (ushort)queues, queue_size = (ushort)queueSize, mmap_size = mmapSize };
        HostileTests.LeavesNoDescriptor("a refused inflight buffer", () =>
        {
            // Told so, the front-end goes on without.
            using (RawFrontend f = _fixture.Connect())
            {
                f.Negotiate();
                Assert.Equal(1UL, f.Acked(SET_INFLIGHT_FD, description, [_memory.Fd]));
                Assert.Equal(0UL, f.Acked(SET_OWNER));
            }

            // One that does not want to be told would believe that its requests are recorded.
            using RawFrontend g = _fixture.Connect();
            g.Negotiate();
            g.Send(SET_INFLIGHT_FD, description, [_memory.Fd]);
            Assert.True(g.IsEnded());
        });
    }

    [Fact]
    public void What_is_deprecated_is_accepted_and_changes_nothing()
    {
        using RawFrontend f = Running();
        int before = HostileTests.OpenFds();
        int fd = Libc.eventfd(0, Libc.EFD_CLOEXEC);
        Assert.Equal(0UL, f.Acked(SET_LOG_FD, 0UL, [fd]));
        _ = Libc.close(fd);
        Assert.Equal(0UL, f.Acked(RESET_OWNER));
        ExportFixture.Until(() => HostileTests.OpenFds() <= before, "the descriptor is closed");
        Works();
        Assert.Equal(1, _fixture.Export.GetStatistics().Sessions);
    }

    /// <summary>A session whose ring has served a request.</summary>
    private RawFrontend Running()
    {
        _ring.Reset();
        RawFrontend f = _fixture.Connect();
        HostileTests.Start(f, _memory, _ring);
        Works();
        return f;
    }

    private void Works()
    {
        _ring.Read(0);
        Assert.Equal(0, _ring.Wait());
    }

    private void Logged(string what) =>
        ExportFixture.Until(() => _fixture.Log.Lines.Any(l => l.Contains(what, StringComparison.Ordinal)), $"the log says '{what}'");
}
