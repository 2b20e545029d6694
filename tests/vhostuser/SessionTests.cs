using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Frontends;
using Polyblk.Virtio;
using Polyblk.Virtio.VhostUser;
using static Polyblk.Virtio.VhostUser.VhostUserRequest;

namespace Polyblk.VhostUser.Tests;

/// <summary>Sessions: several at once, coming and going, drained, resized, and their memory changing under load.</summary>
public sealed class SessionTests
{
    [Fact]
    public async Task Two_sessions_and_two_sockets_see_the_same_data()
    {
        using var fixture = new ExportFixture(reactors: 2);
        ExportSpec second = fixture.Spec with { Id = "test/vhost-user/1", SocketPath = fixture.SocketPath + "2" };
        IExport other = await new Frontends.VhostUser.VhostUserFrontend().CreateAsync(second, fixture.Context, CancellationToken.None);
        using (VhostUserClient a = fixture.Attach())
        using (VhostUserClient b = fixture.Attach(o => o with { Packed = true }))
        using (VhostUserClient c = fixture.Attach(o => o with { SocketPath = second.SocketPath! }))
        {
            VhostUserClient[] clients = [a, b, c];
            for (int i = 0; i < 60; i++)
            {
                ClientQueue writer = clients[i % 3].Queues[0];
                writer.Buffer(0).Fill((byte)(i + 1));
                Assert.Equal(0, writer.Do(ClientOperation.Write, i % 7 * 4096, 4096));
                foreach (VhostUserClient reader in clients)
                {
                    Assert.Equal(0, reader.Queues[0].Do(ClientOperation.Read, i % 7 * 4096, 4096, slot: 1));
                    Assert.True(reader.Queues[0].Buffer(1).IndexOfAnyExcept((byte)(i + 1)) < 0);
                }
            }
        }

        await other.StopAsync(StopMode.Force, CancellationToken.None);
        Assert.False(File.Exists(second.SocketPath));
        Assert.True(File.Exists(fixture.SocketPath));
    }

    [Theory]
    [InlineData("on", true)]
    [InlineData("off", false)]
    public void Notifications_bound_to_an_index_are_offered_as_asked_for(string option, bool isOffered)
    {
        using var fixture = new ExportFixture(options: new Dictionary<string, string> { ["event-idx"] = option });
        using RawFrontend raw = fixture.Connect();
        Assert.Equal(isOffered, (raw.Get(GET_FEATURES) & VirtioFeatures.VIRTIO_F_EVENT_IDX) != 0);
        using VhostUserClient client = fixture.Attach();
        Assert.Equal(0, client.Queues[0].Do(ClientOperation.Write, 0, 4096));
    }

    [Fact]
    public void A_session_that_dies_under_load_does_not_touch_another()
    {
        using var fixture = new ExportFixture(reactors: 2);
        using VhostUserClient steady = fixture.Attach();
        for (int i = 0; i < 30; i++)
        {
            fixture.Gated.Hold();
            VhostUserClient dying = fixture.Attach(o => o with { Queues = 2, Packed = (i & 1) != 0 });
            for (int slot = 0; slot < 8; slot++)
            {
                dying.Queues[slot & 1].Submit(slot, ClientOperation.Write, slot * 4096, 4096);
            }

            dying.Queues[0].Publish();
            dying.Queues[1].Publish();
            ExportFixture.Until(() => fixture.Gated.Held >= 8, "requests are in flight");
            dying.Dispose();
            fixture.Gated.Release();
            Assert.Equal(0, steady.Queues[0].Do(ClientOperation.Read, 0, 4096));
        }
    }

    [Fact]
    public void Sessions_that_come_and_go_200_times_leave_nothing_behind()
    {
        using var fixture = new ExportFixture(reactors: 2);
        Cycle(fixture, 20);
        (int fds, int maps, int threads) = Footprint(fixture);
        Cycle(fixture, 200);
        (int fdsAfter, int mapsAfter, int threadsAfter) = Footprint(fixture);
        Assert.InRange(fdsAfter, 0, fds + 2);

        // The runtime maps memory and starts threads of its pool now and then; 200 leaks would show.
        Assert.InRange(mapsAfter, 0, maps + 50);
        Assert.InRange(threadsAfter, 0, threads + 10);
        Assert.Equal(0, fixture.Gated.OpenQueues);
        Assert.All(fixture.Reactors.Group.Plan, assigned => Assert.Equal(0, assigned));
    }

    [Fact]
    public async Task Draining_holds_requests_back_and_resuming_serves_them()
    {
        using var fixture = new ExportFixture();
        using VhostUserClient client = fixture.Attach();
        ClientQueue queue = client.Queues[0];
        fixture.Gated.Hold();
        queue.Submit(0, ClientOperation.Write, 0, 4096);
        queue.Publish();
        ExportFixture.Until(() => fixture.Gated.Held == 1, "a request is in flight");
        Task drained = fixture.Export.DrainAsync(CancellationToken.None);
        await fixture.SettleAsync();
        Assert.False(drained.IsCompleted, "drained although a request is in flight");
        fixture.Gated.Release();
        await drained;
        Assert.Equal(0, queue.Take(0));

        queue.Submit(0, ClientOperation.Write, 4096, 4096);
        queue.Publish();
        using (VhostUserClient late = fixture.Attach())
        {
            late.Queues[0].Submit(0, ClientOperation.Write, 8192, 4096);
            late.Queues[0].Publish();
            await fixture.SettleAsync();
            Assert.False(queue.HasUsed || late.Queues[0].HasUsed, "served while drained");
            Assert.Equal(0, fixture.Gated.WritesAt(4096) + fixture.Gated.WritesAt(8192));
            await fixture.Export.ResumeAsync(CancellationToken.None);
            Assert.Equal(0, late.Queues[0].Take(0));
        }

        Assert.Equal(0, queue.Take(0));
    }

    [Fact]
    public async Task Resuming_does_not_wait_for_a_drive_for_which_draining_waited_in_vain()
    {
        using var fixture = new ExportFixture();
        using VhostUserClient client = fixture.Attach();
        ClientQueue queue = client.Queues[0];
        fixture.Gated.Hold();
        queue.Submit(0, ClientOperation.Write, 0, 4096);
        queue.Publish();
        ExportFixture.Until(() => fixture.Gated.Held == 1, "a request is in flight");
        using var patience = new CancellationTokenSource();
        Task drained = fixture.Export.DrainAsync(patience.Token);
        await fixture.SettleAsync();
        await patience.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => drained);

        await fixture.Export.ResumeAsync(CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(60));
        queue.Submit(1, ClientOperation.Write, 4096, 4096);
        queue.Publish();
        ExportFixture.Until(() => fixture.Gated.Held == 2, "another request is taken");
        fixture.Gated.Release();
        Assert.Equal(0, queue.Take(0));
        Assert.Equal(0, queue.Take(1));
    }

    [Fact]
    public async Task A_new_size_is_told_to_every_session_once()
    {
        using var fixture = new ExportFixture();
        using VhostUserClient one = fixture.Attach();
        using VhostUserClient two = fixture.Attach();
        Assert.Equal(1 << 20, one.CapacityBytes);
        fixture.Gated.Resize(1 << 19);
        await fixture.Export.ResizeAsync(CancellationToken.None);
        foreach (VhostUserClient client in new[] { one, two })
        {
            Assert.True(client.WaitForConfigChange(10_000));
            client.ReadConfig();
            Assert.Equal(1 << 19, client.CapacityBytes);
            Assert.Equal(1, client.Queues[0].Do(ClientOperation.Read, 1 << 19, 512));
            Assert.False(client.WaitForConfigChange(0));
        }
    }

    [Fact]
    public async Task Stopping_answers_what_was_taken_and_removes_the_socket()
    {
        using var fixture = new ExportFixture();
        using VhostUserClient client = fixture.Attach();
        fixture.Gated.Hold();
        client.Queues[0].Submit(0, ClientOperation.Write, 0, 4096);
        client.Queues[0].Publish();
        ExportFixture.Until(() => fixture.Gated.Held == 1, "a request is in flight");
        Task stopped = fixture.Export.StopAsync(StopMode.Force, CancellationToken.None);
        await fixture.SettleAsync();
        Assert.False(stopped.IsCompleted, "stopped although a request is in flight");
        fixture.Gated.Release();
        await stopped;
        Assert.True(fixture.Export.Completion.IsCompletedSuccessfully);
        Assert.False(File.Exists(fixture.SocketPath));
        Assert.Equal(0, client.Queues[0].Take(0));
        Assert.Equal(0, fixture.Gated.OpenQueues);
    }

    [Fact]
    public void Memory_is_removed_only_after_the_requests_in_it_are_done()
    {
        using var fixture = new ExportFixture();
        fixture.Gated.Content.Fill(0x77);
        using var rings = new SharedMemory(1 << 16, 0x1000_0000);
        using var data = new SharedMemory(1 << 16, 0x2000_0000);
        using var ring = new RawRing(rings);
        using RawFrontend f = Start(fixture, ring, rings);
        Assert.Equal(0UL, f.Acked(ADD_MEM_REG, data.Slot, [data.Fd]));
        fixture.Gated.Hold();
        ring.Read(0, data.GuestAddress);
        ExportFixture.Until(() => fixture.Gated.Held == 1, "a request is in flight");

        // More memory disturbs nothing, although a request is in flight.
        using var more = new SharedMemory(1 << 16, 0x3000_0000);
        Assert.Equal(0UL, f.Acked(ADD_MEM_REG, more.Slot, [more.Fd]));
        f.Send(REM_MEM_REG, data.Slot, flags: VhostUserAbi.NEED_REPLY);
        Assert.False(f.HasReply(withinMs: 50), "answered although a request is in flight");
        unsafe
        {
            Assert.Equal(0, *data.Address);
            fixture.Gated.Release();
            Assert.Equal(0UL, f.Reply<ulong>(REM_MEM_REG));
            Assert.Equal(0, ring.Wait());
            Assert.Equal(0x77, *data.Address);
        }

        // The ring goes on in the memory that stayed, and the removed memory is not there any more.
        ring.Read(0, more.GuestAddress);
        Assert.Equal(0, ring.Wait());
        ring.Read(0, data.GuestAddress);
        Assert.Equal(1, ring.Wait());
    }

    [Fact]
    public async Task A_memory_table_may_be_exchanged_while_rings_run()
    {
        using var fixture = new ExportFixture();
        using var memory = new SharedMemory(1 << 16, 0x1000_0000);
        using var other = new SharedMemory(1 << 16, 0x2000_0000);
        using var ring = new RawRing(memory);
        using RawFrontend f = Start(fixture, ring, memory);
        for (int i = 0; i < 20; i++)
        {
            VhostUserMemoryRegion[] regions = (i & 1) == 0 ? [memory.Region, other.Region] : [memory.Region];
            int[] fds = (i & 1) == 0 ? [memory.Fd, other.Fd] : [memory.Fd];
            fixture.Gated.Hold();
            ring.Read(1);
            ExportFixture.Until(() => fixture.Gated.Held == 1, "a request is in flight");
            f.Send(SET_MEM_TABLE, RawFrontend.Table(regions), fds, VhostUserAbi.NEED_REPLY);
            fixture.Gated.Release();
            Assert.Equal(0UL, f.Reply<ulong>(SET_MEM_TABLE));
            Assert.Equal(0, ring.Wait());
        }

        // A table without the ring stops it; with it the ring goes on where it was.
        Assert.Equal(0UL, f.Acked(SET_MEM_TABLE, RawFrontend.Table(other.Region), [other.Fd]));
        ring.Read(1);
        await fixture.SettleAsync();
        Assert.NotEqual(21, ring.UsedIndex);
        Assert.Equal(0UL, f.Acked(SET_MEM_TABLE, RawFrontend.Table(memory.Region), [memory.Fd]));
        Assert.Equal(0, ring.Wait());
    }

    [Fact]
    public void Writes_to_memory_are_logged_while_a_front_end_migrates()
    {
        using var fixture = new ExportFixture();
        using var memory = new SharedMemory(1 << 20, 0x10_0000);
        using var log = new SharedMemory(4096, 0);
        using var ring = new RawRing(memory);
        using RawFrontend f = Start(fixture, ring, memory);
        ring.Read(0, 0x18_0000);
        ring.Wait();
        f.Send(SET_LOG_BASE, new VhostUserLog { mmap_size = 4096 }, [log.Fd]);
        Assert.Equal(0UL, f.Reply<ulong>(SET_LOG_BASE));
        const ulong features = (1UL << 32) | VhostUserAbi.VHOST_USER_F_PROTOCOL_FEATURES;
        Assert.Equal(0UL, f.Acked(SET_FEATURES, features | VhostUserAbi.VHOST_F_LOG_ALL));
        Assert.Equal(0UL, f.Acked(SET_VRING_ADDR, ring.Address(0) with { flags = VhostUserAbi.VHOST_VRING_F_LOG, log_guest_addr = 0x40_0000 }));
        Assert.Equal([], Logged(log));
        ring.Read(0, 0x18_0000);
        ring.Wait();

        // The buffer, the page of the status byte, and the used ring under its own log address: that is marked after it was
        // written.
        var pages = new SortedSet<ulong>();
        ExportFixture.Until(
            () =>
            {
                pages.UnionWith(Logged(log));
                return pages.Count >= 3;
            },
            "pages are logged");
        Assert.Equal([0x101UL, 0x180, 0x400], pages);
        Assert.Equal(0UL, f.Acked(SET_FEATURES, features));
        ring.Read(0, 0x19_0000);
        ring.Wait();
        Assert.Equal([], Logged(log));
    }

    [Fact]
    public void The_write_back_switch_is_the_only_configuration_that_can_be_written()
    {
        using var fixture = new ExportFixture();
        using RawFrontend f = fixture.Connect();
        f.Negotiate(features: 1UL << 11);
        Assert.Equal(0UL, f.Acked(SET_CONFIG, Config(32, 0, 0)));
        Assert.Equal(1UL, f.Acked(SET_CONFIG, Config(0, 0, 1)));
        Assert.Equal(1UL, f.Acked(SET_CONFIG, Config(32, 0, 2)));

        // A migrated device brings everything; only the switch is taken over.
        byte[] whole = Config(0, VhostUserAbi.SET_CONFIG_TYPE_MIGRATION, new byte[60]);
        Assert.Equal(0UL, f.Acked(SET_CONFIG, whole));
        f.Send(GET_CONFIG, Config(0, 0, new byte[60]));
        ReadOnlySpan<byte> config = f.Reply(GET_CONFIG)[12..];
        Assert.Equal(0, config[32]);
        Assert.Equal(2048, System.Buffers.Binary.BinaryPrimitives.ReadInt32LittleEndian(config));

        // Beyond the largest message: the error is a reply without payload.
        f.Send(GET_CONFIG, Config(200, 0, new byte[100]));
        Assert.Equal(0, f.Reply(GET_CONFIG).Length);
    }

    [Fact]
    public void A_device_that_was_reset_starts_anew()
    {
        using var fixture = new ExportFixture();
        using var memory = new SharedMemory(1 << 16, 0x1000_0000);
        using var ring = new RawRing(memory);
        using RawFrontend f = Start(fixture, ring, memory);
        ring.Read(0);
        ring.Wait();
        Assert.Equal(0UL, f.Acked(RESET_DEVICE));
        ring.Reset();
        f.Send(SET_FEATURES, (1UL << 32) | VhostUserAbi.VHOST_USER_F_PROTOCOL_FEATURES);
        StartRing(f, ring);
        ring.Read(0);
        Assert.Equal(0, ring.Wait());
    }

    private static byte[] Config(int offset, uint flags, params byte[] data)
    {
        byte[] payload = new byte[12 + data.Length];
        System.Runtime.InteropServices.MemoryMarshal.Write(payload, new VhostUserConfig { offset = (uint)offset, size = (uint)data.Length, flags = flags });
        data.CopyTo(payload, 12);
        return payload;
    }

    private static RawFrontend Start(ExportFixture fixture, RawRing ring, SharedMemory memory)
    {
        RawFrontend f = fixture.Connect();
        f.Negotiate();
        f.Send(SET_MEM_TABLE, RawFrontend.Table(memory.Region), [memory.Fd]);
        StartRing(f, ring);
        return f;
    }

    private static void StartRing(RawFrontend f, RawRing ring)
    {
        f.Send(SET_VRING_NUM, new vhost_vring_state { num = RawRing.Size });
        f.Send(SET_VRING_BASE, new vhost_vring_state());
        f.Send(SET_VRING_ADDR, ring.Address(0));
        f.Send(SET_VRING_KICK, 0UL, [ring.KickFd]);
        Assert.Equal(0UL, f.Acked(SET_VRING_ENABLE, new vhost_vring_state { num = 1 }));
    }

    /// <summary>Takes the pages that are marked.</summary>
    private static unsafe ulong[] Logged(SharedMemory log)
    {
        var pages = new List<ulong>();
        for (int i = 0; i < 4096; i++)
        {
            for (int bit = 0; bit < 8; bit++)
            {
                if ((log.Address[i] & (1 << bit)) != 0)
                {
                    pages.Add(((ulong)i * 8) + (ulong)bit);
                }
            }

            log.Address[i] = 0;
        }

        return [.. pages];
    }

    private static void Cycle(ExportFixture fixture, int times)
    {
        for (int i = 0; i < times; i++)
        {
            using VhostUserClient client = fixture.Attach(o => o with
            {
                Queues = 1 + (i % 4), Depth = 4, Packed = (i & 1) != 0, Inflight = (i & 2) != 0, MemorySlots = (i & 4) != 0,
            });
            Assert.Equal(0, client.Queues[^1].Do(ClientOperation.Write, 0, 4096));
            if ((i & 8) != 0)
            {
                client.Detach();
            }
        }
    }

    private static (int Fds, int Maps, int Threads) Footprint(ExportFixture fixture)
    {
        ExportFixture.Until(() => fixture.Export.GetStatistics().Sessions == 0, "sessions end");
        GC.Collect();
        GC.WaitForPendingFinalizers();
        return (HostileTests.OpenFds(), File.ReadAllLines("/proc/self/maps").Length, Directory.GetDirectories("/proc/self/task").Length);
    }
}
