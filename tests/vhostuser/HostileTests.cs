using System.Runtime.InteropServices;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Core.Interop;
using Polyblk.Frontends.VhostUser;
using Polyblk.Virtio.VhostUser;
using Tmds.Linux;
using static Polyblk.Virtio.VhostUser.VhostUserRequest;

namespace Polyblk.VhostUser.Tests;

/// <summary>Front-ends that break the protocol lose their session, and nobody else notices.</summary>
public sealed class HostileTests : IDisposable
{
    private readonly ExportFixture _fixture = new();
    private readonly VhostUserClient _neighbour;
    private readonly int _fd = Libc.memfd_create("hostile", Libc.MFD_CLOEXEC);

    public HostileTests()
    {
        Assert.Equal(0, Libc.ftruncate(_fd, 8192));
        _neighbour = _fixture.Attach();
    }

    public void Dispose()
    {
        // Whatever happened: the other session works, and the door is open.
        Assert.Equal(0, _neighbour.Queues[0].Do(ClientOperation.Write, 0, 4096));
        using (VhostUserClient late = _fixture.Attach())
        {
            Assert.Equal(0, late.Queues[0].Do(ClientOperation.Read, 0, 4096));
        }

        _neighbour.Dispose();
        _fixture.Dispose();
        _ = Libc.close(_fd);
    }

    public static TheoryData<VhostUserRequest> AllRequests() => [.. MessageRules.Known];

    [Theory]
    [MemberData(nameof(AllRequests))]
    public void A_payload_of_a_wrong_size_ends_the_session(VhostUserRequest request)
    {
        // One byte more than any message of this kind may have, and one byte less than any must have.
        foreach (int bytes in new[] { 1000, 7 })
        {
            if (bytes == 7 && request is SET_LOG_FD or SET_BACKEND_REQ_FD)
            {
                continue; // between their two sizes
            }

            using RawFrontend f = _fixture.Connect();
            f.Negotiate();
            f.Send(request, new byte[bytes]);
            Assert.True(f.IsEnded(), $"{request} with {bytes} bytes");
        }
    }

    [Theory]
    [MemberData(nameof(AllRequests))]
    public void Descriptors_that_do_not_belong_to_a_message_end_the_session_and_are_closed(VhostUserRequest request)
    {
        LeavesNoDescriptor(request.ToString(), () =>
        {
            using RawFrontend f = _fixture.Connect();
            f.Negotiate();
            f.Send(request, new byte[SizeOf(request)], [_fd, _fd, _fd]);
            bool ended = f.IsEnded();
            Assert.True(ended || request == SET_MEM_TABLE, request.ToString());
        });
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(19u)]
    [InlineData(26u)]
    [InlineData(35u)]
    [InlineData(41u)]
    [InlineData(uint.MaxValue)]
    public void An_unknown_message_ends_the_session(uint request) => Ends(f => f.Send((VhostUserRequest)request));

    [Fact]
    public void A_size_of_4_GiB_ends_the_session() => Ends(f => SendHeader(f, GET_FEATURES, 1, uint.MaxValue));

    [Fact]
    public void A_wrong_version_ends_the_session() => Ends(f => SendHeader(f, GET_FEATURES, 2, 0));

    [Fact]
    public void A_reply_in_place_of_a_request_ends_the_session() => Ends(f => SendHeader(f, GET_FEATURES, 1 | VhostUserAbi.REPLY, 0));

    [Fact]
    public void A_flood_of_descriptors_ends_the_session_and_leaks_none()
    {
        LeavesNoDescriptor("a flood", () => Ends(f =>
        {
            // More than the receiver has room for: sent by hand, since the channel refuses.
            for (int i = 0; i < 20; i++)
            {
                SendFds(f, 100);
            }
        }));
    }

    [Fact]
    public void A_message_that_stops_in_the_middle_holds_nobody_up()
    {
        using RawFrontend f = _fixture.Connect();
        SendHeader(f, SET_FEATURES, 1, 8);
        Assert.Equal(0, _neighbour.Queues[0].Do(ClientOperation.Read, 0, 4096));
    }

    [Fact]
    public void Features_that_were_not_offered_end_the_session() => Ends(f => f.Send(SET_FEATURES, 1UL << 33));

    [Fact]
    public void Protocol_features_that_were_not_offered_end_the_session() => Ends(f => f.Send(SET_PROTOCOL_FEATURES, 1UL << 14));

    [Fact]
    public void A_message_whose_feature_was_not_negotiated_ends_the_session()
    {
        using RawFrontend f = _fixture.Connect();
        f.Send(GET_INFLIGHT_FD, new VhostUserInflight { num_queues = 1, queue_size = 8 });
        Assert.True(f.IsEnded());
    }

    [Theory]
    [InlineData(256u)]
    [InlineData(65535u)]
    [InlineData(uint.MaxValue)]
    public void A_queue_that_does_not_exist_ends_the_session(uint index)
    {
        Ends(f => f.Send(SET_VRING_NUM, new vhost_vring_state { index = index, num = 8 }));
        Ends(f => f.Send(SET_VRING_ADDR, new vhost_vring_addr { index = index }));
        Ends(f => f.Send(SET_VRING_BASE, new vhost_vring_state { index = index }));
        Ends(f => f.Send(GET_VRING_BASE, new vhost_vring_state { index = index }));
        Ends(f => f.Send(SET_VRING_ENABLE, new vhost_vring_state { index = index, num = 1 }));
        Ends(f => f.Send(SET_VRING_KICK, (ulong)index, [_fd]));
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(3u)]
    [InlineData(65536u)]
    [InlineData(uint.MaxValue)]
    public void A_bad_queue_size_ends_the_session(uint size) => Ends(f => f.Send(SET_VRING_NUM, new vhost_vring_state { num = size }));

    [Fact]
    public void A_file_as_call_descriptor_ends_the_session_and_is_not_written()
    {
        // What the kernel calls an eventfd has these words in it, too.
        string path = Path.Combine(_fixture.Directory, "anon_inode:[eventfd]");
        using FileStream file = File.Create(path);
        Ends(f => f.Send(SET_VRING_CALL, 0UL, [(int)file.SafeFileHandle.DangerousGetHandle()]));
        Assert.Equal(0, new FileInfo(path).Length);
    }

    [Fact]
    public unsafe void A_call_descriptor_that_is_made_to_block_costs_the_session_and_nothing_else()
    {
        using var memory = new SharedMemory(1 << 16, 0x1000_0000);
        using var ring = new RawRing(memory);
        using RawFrontend f = _fixture.Connect();
        Describe(f, memory, ring);
        f.Send(SET_VRING_CALL, 0UL, [ring.CallFd]);
        f.Send(SET_VRING_KICK, 0UL, [ring.KickFd]);
        Assert.Equal(0UL, f.Acked(SET_VRING_ENABLE, new vhost_vring_state { num = 1 }));

        // A ring that starts may notify.
        ulong count;
        Libc.read(ring.CallFd, &count, 8);
        ulong full = ulong.MaxValue - 1;
        Assert.Equal(8, Libc.write(ring.CallFd, &full, 8));
        Assert.Equal(0, Libc.fcntl(ring.CallFd, Libc.F_SETFL, 0));

        // The only reactor answers, and is held up; the neighbour is on the same one.
        ring.Read(0);
        Assert.Equal(0, ring.Wait());
        Assert.Equal(0, _neighbour.Queues[0].Do(ClientOperation.Read, 0, 4096));
        Assert.True(f.IsEnded());
        ExportFixture.Until(() => _fixture.Log.Lines.Any(l => l.Contains("held up by its call descriptor", StringComparison.Ordinal)), "the log says why");
    }

    [Fact]
    public void A_vring_descriptor_message_must_agree_with_its_payload()
    {
        Ends(f => f.Send(SET_VRING_CALL, 0UL));
        Ends(f => f.Send(SET_VRING_KICK, VhostUserAbi.VRING_NOFD, [_fd]));
        Ends(f => f.Send(SET_VRING_ERR, 1UL << 9));
    }

    [Fact]
    public void Memory_that_is_too_short_wraps_or_overlaps_is_refused()
    {
        var good = new VhostUserMemoryRegion { guest_phys_addr = 0x1000, memory_size = 8192, userspace_addr = 0x10000 };
        VhostUserMemoryRegion[] bad =
        [
            good with { memory_size = 8193 },
            good with { memory_size = 0 },
            good with { mmap_offset = 4096 },
            good with { mmap_offset = ulong.MaxValue - 100 },
            good with { memory_size = ulong.MaxValue },
            good with { guest_phys_addr = ulong.MaxValue - 100 },
            good with { userspace_addr = ulong.MaxValue - 100 },
            good with { guest_phys_addr = 0x2000 },
        ];
        foreach (VhostUserMemoryRegion region in bad)
        {
            // With an acknowledgement the front-end is told, and what was there before stays.
            using RawFrontend f = _fixture.Connect();
            f.Negotiate();
            Assert.Equal(0UL, f.Acked(ADD_MEM_REG, new VhostUserMemRegMsg { region = good }, [_fd]));
            Assert.Equal(1UL, f.Acked(ADD_MEM_REG, new VhostUserMemRegMsg { region = region }, [_fd]));
            Assert.Equal(0UL, f.Acked(REM_MEM_REG, new VhostUserMemRegMsg { region = good }));
            Assert.Equal(1UL, f.Acked(REM_MEM_REG, new VhostUserMemRegMsg { region = good }));
        }

        Ends(f => f.Send(ADD_MEM_REG, new VhostUserMemRegMsg { region = bad[0] }, [_fd]));
        Ends(f => f.Send(ADD_MEM_REG, new VhostUserMemRegMsg { region = good }));
        Ends(f => f.Send(SET_MEM_TABLE, RawFrontend.Table(good, good), [_fd, _fd]));
        Ends(f => f.Send(SET_MEM_TABLE, RawFrontend.Table(good, good), [_fd]));
    }

    [Fact]
    public void Where_memory_must_be_sealed_it_cannot_be_taken_away()
    {
        using var fixture = new ExportFixture(options: new Dictionary<string, string> { ["sealed-memory"] = "on" });
        using RawFrontend f = fixture.Connect();
        f.Negotiate();
        using var loose = new SharedMemory(1 << 16, 0x1000_0000, sealable: false);
        using var tight = new SharedMemory(1 << 16, 0x2000_0000);
        Assert.Equal(1UL, f.Acked(ADD_MEM_REG, loose.Slot, [loose.Fd]));
        Assert.Equal(0UL, f.Acked(ADD_MEM_REG, tight.Slot, [tight.Fd]));
        Assert.Equal(0, Libc.ftruncate(loose.Fd, 0));
        Assert.Equal(-Core.Block.Errno.EPERM, Libc.ftruncate(tight.Fd, 0));
    }

    [Fact]
    public void Memory_that_is_taken_away_costs_the_session_and_nothing_else()
    {
        using var memory = new SharedMemory(1 << 16, 0x1000_0000, sealable: false);
        using var ring = new RawRing(memory);
        using RawFrontend f = _fixture.Connect();
        Start(f, memory, ring);
        ring.Read(0);
        Assert.Equal(0, ring.Wait());

        // All of it: the next look at the ring finds nothing.
        Assert.Equal(0, Libc.ftruncate(memory.Fd, 0));
        Libc.SignalEventFd(ring.KickFd);
        Assert.True(f.IsEnded());
        ExportFixture.Until(
            () => _fixture.Log.Lines.Any(l => l.Contains("front-end shares has gone", StringComparison.Ordinal)),
            "the log says why");
    }

    [Fact]
    public void A_request_whose_memory_is_taken_away_is_not_called_done()
    {
        using var memory = new SharedMemory(1 << 16, 0x1000_0000, sealable: false);
        using var ring = new RawRing(memory);
        using RawFrontend f = _fixture.Connect();
        Start(f, memory, ring);
        Assert.Equal(0, Libc.ftruncate(memory.Fd, RawRing.RingBytes));
        ring.Read(0, memory.GuestAddress + RawRing.RingBytes + 4096);
        Assert.Equal(1, ring.Wait()); // VIRTIO_BLK_S_IOERR
        Assert.True(f.IsEnded());
    }

    [Fact]
    public void A_table_that_names_more_regions_than_it_holds_ends_the_session()
    {
        byte[] payload = RawFrontend.Table(new VhostUserMemoryRegion { memory_size = 4096 });
        MemoryMarshal.Write(payload, 2u);
        Ends(f => f.Send(SET_MEM_TABLE, payload, [_fd, _fd]));
        MemoryMarshal.Write(payload, 9u);
        Ends(f => f.Send(SET_MEM_TABLE, payload, [_fd]));
        MemoryMarshal.Write(payload, uint.MaxValue);
        Ends(f => f.Send(SET_MEM_TABLE, payload, [_fd]));
    }

    [Fact]
    public void A_kick_descriptor_that_is_no_eventfd_ends_the_session() => Ends(f => f.Send(SET_VRING_KICK, 0UL, [_fd]));

    [Fact]
    public async Task A_front_end_that_reads_no_replies_loses_its_session_and_holds_nobody_up()
    {
        using RawFrontend f = _fixture.Connect();
        while (f.Channel.Send((uint)GET_FEATURES, 0, [], timeoutMs: 500) == SocketResult.Done)
        {
            // Until neither side's buffer takes any more.
        }

        // It takes each session's lock.
        await _fixture.Export.ResizeAsync(CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(60));
        ExportFixture.Until(() => _fixture.Log.Lines.Any(l => l.Contains("a reply could not be sent", StringComparison.Ordinal)), "the log says why");
    }

    [Fact]
    public void A_broken_ring_breaks_its_queue_only_and_a_reset_mends_it()
    {
        using var memory = new SharedMemory(1 << 16, 0x1000_0000);
        using var bad = new RawRing(memory);
        using var good = new RawRing(memory, 0x8000);
        using RawFrontend f = _fixture.Connect();
        f.Negotiate();
        f.Send(SET_MEM_TABLE, RawFrontend.Table(memory.Region), [memory.Fd]);
        for (uint i = 0; i < 2; i++)
        {
            RawRing ring = i == 0 ? bad : good;
            f.Send(SET_VRING_NUM, new vhost_vring_state { index = i, num = RawRing.Size });
            f.Send(SET_VRING_ADDR, ring.Address(i));
            f.Send(SET_VRING_KICK, (ulong)i, [ring.KickFd]);
            f.Send(SET_VRING_ERR, (ulong)i, [ring.CallFd]);
            f.Send(SET_VRING_ENABLE, new vhost_vring_state { index = i, num = 1 });
        }

        bad.JumpAvailable();
        ExportFixture.Until(() => f.Get(GET_STATUS) == 64, "the status says that a reset is needed");
        Assert.True(IsSignalled(bad.CallFd), "the error descriptor is signalled");
        good.Read(0);
        Assert.Equal(0, good.Wait());
        ExportFixture.Until(
            () => _fixture.Log.Lines.Any(l => l.Contains("The available index went from", StringComparison.Ordinal)),
            "the log says why: " + string.Join("\n", _fixture.Log.Lines), 3000);

        f.Send(GET_VRING_BASE, new vhost_vring_state());
        f.Reply<vhost_vring_state>(GET_VRING_BASE);
        Assert.Equal(0UL, f.Get(GET_STATUS));
        bad.Reset();
        f.Send(SET_VRING_BASE, new vhost_vring_state());
        f.Send(SET_VRING_KICK, 0UL, [bad.KickFd]);
        bad.Read(0);
        Assert.Equal(0, bad.Wait());
    }

    /// <summary>Memory that was plugged into the guest and is not shared: its requests fail, the disk stays.</summary>
    [Fact]
    public void A_buffer_outside_the_shared_memory_fails_its_request_and_nothing_else()
    {
        using var memory = new SharedMemory(1 << 16, 0x1000_0000);
        using var ring = new RawRing(memory);
        using RawFrontend f = _fixture.Connect();
        f.Negotiate();
        f.Send(SET_MEM_TABLE, RawFrontend.Table(memory.Region), [memory.Fd]);
        f.Send(SET_VRING_NUM, new vhost_vring_state { num = RawRing.Size });
        f.Send(SET_VRING_ADDR, ring.Address(0));
        f.Send(SET_VRING_KICK, 0UL, [ring.KickFd]);
        f.Send(SET_VRING_ENABLE, new vhost_vring_state { num = 1 });
        for (int i = 0; i < 3; i++)
        {
            ring.Read(0, dataAddress: 0xDEAD_0000);
            Assert.Equal(1, ring.Wait());
            ring.Read(0);
            Assert.Equal(0, ring.Wait());
        }

        Assert.Equal(0UL, f.Get(GET_STATUS));
        ExportFixture.Until(
            () => _fixture.Log.Lines.Any(l => l.Contains("dead0000", StringComparison.Ordinal)),
            "the log says why: " + string.Join("\n", _fixture.Log.Lines), 3000);
    }

    [Fact]
    public void The_socket_takes_no_more_sessions_than_allowed()
    {
        using var fixture = new ExportFixture(options: new Dictionary<string, string> { ["max-sessions"] = "2" });
        using VhostUserClient one = fixture.Attach();
        using (VhostUserClient two = fixture.Attach())
        {
            // Only a session of which a ring has run keeps its place.
            Assert.Equal(0, one.Queues[0].Do(ClientOperation.Read, 0, 4096));
            Assert.Equal(0, two.Queues[0].Do(ClientOperation.Read, 0, 4096));
            using RawFrontend three = fixture.Connect();
            Assert.True(three.IsEnded());
        }

        ExportFixture.Until(() => fixture.Export.GetStatistics().Sessions == 1, "a session ends");
        using RawFrontend four = fixture.Connect();
        four.Get(GET_FEATURES);
    }

    internal static void Describe(RawFrontend f, SharedMemory memory, RawRing ring)
    {
        f.Negotiate();
        f.Send(SET_MEM_TABLE, RawFrontend.Table(memory.Region), [memory.Fd]);
        f.Send(SET_VRING_NUM, new vhost_vring_state { num = RawRing.Size });
        f.Send(SET_VRING_ADDR, ring.Address(0));
    }

    internal static void Start(RawFrontend f, SharedMemory memory, RawRing ring)
    {
        Describe(f, memory, ring);
        f.Send(SET_VRING_KICK, 0UL, [ring.KickFd]);
        Assert.Equal(0UL, f.Acked(SET_VRING_ENABLE, new vhost_vring_state { num = 1 }));
    }

    /// <summary>Does something twice: what the process opens once and keeps is opened by the first time.</summary>
    internal static void LeavesNoDescriptor(string what, Action action)
    {
        action();
        string[] before = Descriptors();
        action();
        var watch = System.Diagnostics.Stopwatch.StartNew();
        while (OpenFds() > before.Length)
        {
            Assert.True(
                watch.ElapsedMilliseconds < 20_000,
                $"descriptors stay open after {what}:\n{string.Join(", ", Descriptors())}\nbefore:\n{string.Join(", ", before)}");
            Thread.Sleep(1);
        }
    }

    /// <summary>What is open: "number kind". Without the runtime's assemblies, which it opens when it needs them.</summary>
    internal static string[] Descriptors() =>
    [
        .. Directory.GetFileSystemEntries("/proc/self/fd").Select(f => $"{Path.GetFileName(f)} {new FileInfo(f).LinkTarget}")
            .Where(f => !f.EndsWith(".dll", StringComparison.Ordinal)).Order(),
    ];

    internal static int OpenFds() => Descriptors().Length;

    private static unsafe bool IsSignalled(int fd)
    {
        ulong value;
        return Libc.read(fd, &value, 8) == 8;
    }

    private static int SizeOf(VhostUserRequest request) => request switch
    {
        GET_FEATURES or SET_OWNER or RESET_OWNER or GET_PROTOCOL_FEATURES or GET_QUEUE_NUM or RESET_DEVICE or GET_MAX_MEM_SLOTS or GET_STATUS
            or SET_LOG_FD or SET_BACKEND_REQ_FD => 0,
        SET_VRING_ADDR or ADD_MEM_REG or REM_MEM_REG => 40,
        SET_LOG_BASE => 16,
        GET_CONFIG or SET_CONFIG => 12,
        GET_INFLIGHT_FD or SET_INFLIGHT_FD => 24,
        _ => 8,
    };

    private void Ends(Action<RawFrontend> act)
    {
        using RawFrontend f = _fixture.Connect();
        f.Negotiate();
        act(f);
        Assert.True(f.IsEnded());
    }

    private static unsafe void SendHeader(RawFrontend f, VhostUserRequest request, uint flags, uint size)
    {
        var header = new VhostUserHeader { request = (uint)request, flags = flags, size = size };
        Assert.Equal(SocketResult.Done, f.Channel.SendRaw(new ReadOnlySpan<byte>(&header, sizeof(VhostUserHeader))));
    }

    private unsafe void SendFds(RawFrontend f, int count)
    {
        byte* control = stackalloc byte[16 + (count * sizeof(int))];
        *(cmsghdr*)control = new cmsghdr
        {
            cmsg_len = 16 + (count * sizeof(int)), cmsg_level = Libc.SOL_SOCKET, cmsg_type = Libc.SCM_RIGHTS,
        };
        new Span<int>(control + 16, count).Fill(_fd);
        var header = new VhostUserHeader { request = (uint)GET_FEATURES, flags = 1 };
        var vector = new Core.Block.IoVec((byte*)&header, (nuint)sizeof(VhostUserHeader));
        var message = new msghdr
        {
            msg_iov = (iovec*)&vector, msg_iovlen = 1, msg_control = control, msg_controllen = 16 + (count * sizeof(int)),
        };
        _ = Libc.sendmsg(f.Channel.Descriptor, &message, Libc.MSG_NOSIGNAL);
    }
}
