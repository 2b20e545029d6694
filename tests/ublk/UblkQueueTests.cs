// The data path against a fake driver: what is submitted to the volume, what is committed, and what happens when things end.

using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;
using static Polyblk.Frontends.Ublk.UblkAbi;

namespace Polyblk.Frontends.Ublk.Tests;

public sealed unsafe class UblkQueueTests : IDisposable
{
    private const int Depth = 8, MaxIoBytes = 64 << 10, QueueId = 3, FirstBuffer = 40;

    private readonly FakeDriverRing _driver = new(Depth);
    private readonly RecordingDevice _device = new();
    private readonly Reactor _reactor = Reactor.CreateStepped(new ReactorOptions { RingEntries = 0 });
    private readonly List<string> _files = [];
    private int _charFd = -1;

    public void Dispose()
    {
        _driver.Dispose();
        _reactor.Dispose();
        _ = _charFd < 0 ? 0 : Libc.close(_charFd);
        _files.ForEach(File.Delete);
    }

    [Fact]
    public void Fetches_every_tag_once_with_its_own_aligned_buffer()
    {
        UblkQueue queue = Start(Copying());
        Assert.All(_driver.Commands, c => Assert.Equal(UBLK_U_IO_FETCH_REQ, c.Command));
        Assert.Equal(Enumerable.Range(0, Depth), _driver.Commands.Select(c => (int)c.Io.tag));
        Assert.All(_driver.Commands, c => Assert.Equal(QueueId, c.Io.q_id));
        ulong[] buffers = [.. _driver.Commands.Select(c => c.Io.addr)];
        Assert.All(buffers, b => Assert.Equal(0ul, b % 4096));
        Assert.All(buffers.Zip(buffers.Skip(1)), pair => Assert.True(pair.Second - pair.First >= MaxIoBytes));
        Finish(queue);
    }

    [Fact]
    public void Decodes_each_operation_and_commits_lengths_for_data_and_zero_for_the_rest()
    {
        UblkQueue queue = Start(Copying());
        _driver.Deliver(0, UBLK_IO_OP_READ, 1 << 20, 8192);
        _driver.Deliver(1, UBLK_IO_OP_WRITE, 4096, 512, UBLK_IO_F_FUA);
        _driver.Deliver(2, UBLK_IO_OP_FLUSH, 0, 0);
        _driver.Deliver(3, UBLK_IO_OP_DISCARD, 1L << 40, 1L << 30);
        _driver.Deliver(4, UBLK_IO_OP_WRITE_ZEROES, 0, 1 << 20);
        _driver.Deliver(5, UBLK_IO_OP_WRITE_ZEROES, 512, 512, UBLK_IO_F_NOUNMAP | UBLK_IO_F_FUA);
        _driver.Turn(queue);

        (BlockOperation, BlockFlags, long, long)[] expected =
        [
            (BlockOperation.Read, BlockFlags.None, 1 << 20, 8192),
            (BlockOperation.Write, BlockFlags.Fua, 4096, 512),
            (BlockOperation.Flush, BlockFlags.None, 0, 0),
            (BlockOperation.Discard, BlockFlags.None, 1L << 40, 1L << 30),
            (BlockOperation.WriteZeroes, BlockFlags.Unmap, 0, 1 << 20),
            (BlockOperation.WriteZeroes, BlockFlags.Fua, 512, 512),
        ];
        Assert.Equal(expected, _device.Requests.Select(r => (r.Operation, r.Flags, r.OffsetBytes, r.LengthBytes)));
        Assert.Equal((ulong)_device.Requests[0].Vectors->Base, _driver.Commands[0].Io.addr);
        Assert.Equal(8192u, _device.Requests[0].Vectors->Length);
        Assert.True(_device.Requests[0].Traits.HasFlag(BufferTraits.CpuAccessible | BufferTraits.Stable | BufferTraits.Aligned));
        Assert.False(_device.Requests[1].Traits.HasFlag(BufferTraits.Aligned)); // 512 bytes on a device that wants 4096
        Assert.Equal(6, queue.InFlight);

        while (_device.Requests.Count != 0)
        {
            _device.Complete(0, 0);
        }

        _driver.Turn(queue);
        Assert.Equal([(0, 8192), (1, 512), (2, 0), (3, 0), (4, 0), (5, 0)], _driver.Commits);
        Assert.Equal(0, queue.InFlight);
        QueueTotals totals = default;
        queue.AddTo(ref totals);
        Assert.Equal((1, 8192, 1, 512, 1, 3, 0), (totals.Reads, totals.ReadBytes, totals.Writes, totals.WriteBytes, totals.Flushes, totals.Discards, totals.Errors));
        Finish(queue);
    }

    [Fact]
    public void Errors_and_bad_requests_are_committed_as_negative_numbers()
    {
        UblkQueue queue = Start(Copying());
        _device.Answer = _ => -Errno.ENOSPC;
        _driver.Deliver(0, UBLK_IO_OP_WRITE, 0, 4096);
        _driver.Deliver(1, UBLK_IO_OP_READ, 0, MaxIoBytes + 512);
        _driver.Deliver(2, UBLK_IO_OP_READ, 0, 0);
        _driver.Deliver(3, 13, 0, 4096);
        _driver.Turn(queue);
        Assert.Equal([(0, -Errno.ENOSPC), (1, -Errno.EINVAL), (2, -Errno.EINVAL), (3, -Errno.EOPNOTSUPP)], _driver.Commits);
        QueueTotals totals = default;
        queue.AddTo(ref totals);
        Assert.Equal((4, 0), (totals.Errors, totals.InFlight));
        Finish(queue);
    }

    /// <summary>The block layer would make EIO of them (block/blk-core.c, blk_errors).</summary>
    [Theory]
    [InlineData(Errno.EDQUOT)]
    [InlineData(Errno.EFBIG)]
    public void What_has_no_room_is_committed_as_no_space(int errno)
    {
        UblkQueue queue = Start(Copying());
        _device.Answer = _ => -errno;
        _driver.Deliver(0, UBLK_IO_OP_WRITE, 0, 4096);
        _driver.Turn(queue);
        Assert.Equal([(0, -Errno.ENOSPC)], _driver.Commits);
        Finish(queue);
    }

    [Fact]
    public void A_read_only_queue_changes_nothing()
    {
        UblkQueue queue = Start(Copying(), readOnly: true);
        _device.Answer = _ => 0;
        _driver.Deliver(0, UBLK_IO_OP_WRITE, 0, 4096);
        _driver.Deliver(1, UBLK_IO_OP_DISCARD, 0, 4096);
        _driver.Deliver(2, UBLK_IO_OP_WRITE_ZEROES, 0, 4096);
        _driver.Deliver(3, UBLK_IO_OP_READ, 0, 4096);
        _driver.Deliver(4, UBLK_IO_OP_FLUSH, 0, 0);
        _driver.Turn(queue);
        Assert.Equal([(0, -Errno.EROFS), (1, -Errno.EROFS), (2, -Errno.EROFS), (3, 4096), (4, 0)], _driver.Commits);
        QueueTotals totals = default;
        queue.AddTo(ref totals);
        Assert.Equal((3, 1, 1, 0, 0), (totals.Errors, totals.Reads, totals.Flushes, totals.Writes, totals.Discards));
        Finish(queue);
    }

    [Fact]
    public void A_full_ring_keeps_commits_until_there_is_room()
    {
        UblkQueue queue = Start(Copying());
        _device.Answer = _ => 0;

        // Entries of somebody else fill the ring, and the kernel takes none.
        int other = _driver.Ring.Attach(new NoHandler());
        _driver.TakesAtMost = 0;
        for (int i = 0; i < FakeDriverRing.DefaultEntries; i++)
        {
            Assert.True(_driver.Ring.TryGetSqe(other, 0) is not null);
        }

        _driver.Deliver(5, UBLK_IO_OP_FLUSH, 0, 0);
        _driver.Deliver(2, UBLK_IO_OP_READ, 0, 512);
        _driver.Turn(queue);
        Assert.Empty(_driver.Commits);
        Assert.False(queue.TryArm()); // a reactor must not sleep on them
        queue.Disarm();

        _driver.TakesAtMost = int.MaxValue;
        _driver.Turn(queue);
        _driver.Turn(queue);
        Assert.Equal([(2, 512), (5, 0)], _driver.Commits.Order());
        Assert.True(queue.TryArm());
        queue.Disarm();
        Finish(queue);
    }

    [Fact]
    public void Zero_copy_names_the_registered_buffer_and_falls_back_when_the_volume_needs_the_cpu()
    {
        MakeCharDevice();
        UblkQueue queue = Start(new UblkPlan(UblkCopyMode.ZeroCopy, true, true, "test"));
        Assert.Equal(Enumerable.Range(FirstBuffer, Depth), _driver.Commands.Select(c => (int)c.Addr));
        Assert.All(_driver.Commands, c => Assert.Equal(0ul, c.Io.addr));
        _driver.Deliver(2, UBLK_IO_OP_READ, 4096, 4096);
        _driver.Turn(queue);
        BlockRequest request = _device.Requests[0];
        Assert.Equal((FirstBuffer + 2, BufferTraits.None, 1), (request.RegisteredBuffer, request.Traits, request.VectorCount));
        Assert.Equal((0ul, 4096ul), ((ulong)request.Vectors->Base, request.Vectors->Length));

        _device.Complete(0, -Errno.EFAULT);
        Assert.Same(request, Assert.Single(_device.Requests));
        Assert.Equal(-1, request.RegisteredBuffer);
        Assert.True(request.Traits.HasFlag(BufferTraits.CpuAccessible));
        new Span<byte>(request.Vectors->Base, 4096).Fill(0x5a);
        _device.Complete(0, 0);
        _driver.Turn(queue);
        Assert.Equal((2, 4096), Assert.Single(_driver.Commits));
        Assert.All(ReadCharDevice(2, 4096), b => Assert.Equal(0x5a, b));
        Finish(queue);
    }

    [Fact]
    public void With_parity_only_writes_are_copied()
    {
        MakeCharDevice();
        UblkQueue queue = Start(new UblkPlan(UblkCopyMode.ZeroCopy, true, false, "test"));
        WriteCharDevice(1, [.. Enumerable.Repeat((byte)0x77, 8192)]);
        _driver.Deliver(0, UBLK_IO_OP_READ, 0, 4096);
        _driver.Deliver(1, UBLK_IO_OP_WRITE, 0, 8192);
        _driver.Turn(queue);
        Assert.Equal([FirstBuffer, -1], _device.Requests.Select(r => r.RegisteredBuffer));
        Assert.True(new Span<byte>(_device.Requests[1].Vectors->Base, 8192).IndexOfAnyExcept((byte)0x77) < 0);
        _device.Complete(1, 0);
        _device.Complete(0, 0);
        _driver.Turn(queue);
        Assert.Equal([(1, 8192), (0, 4096)], _driver.Commits);
        Finish(queue);
    }

    [Fact]
    public void User_copy_moves_data_at_the_encoded_position_and_reports_a_copy_that_fails()
    {
        MakeCharDevice();
        UblkQueue queue = Start(new UblkPlan(UblkCopyMode.UserCopy, false, false, "test"));
        WriteCharDevice(4, [1, 2, 3, 4]);
        _driver.Deliver(4, UBLK_IO_OP_WRITE, 0, 512);
        _driver.Turn(queue);

        // The file ends after four bytes: the copy is short, and a short write must not pass for a whole one.
        Assert.Empty(_device.Requests);
        Assert.Equal((4, -Errno.EIO), Assert.Single(_driver.Commits));

        _driver.Deliver(6, UBLK_IO_OP_READ, 0, 512);
        _driver.Turn(queue);
        new Span<byte>(_device.Requests[0].Vectors->Base, 512).Fill(9);
        _device.Complete(0, 0);
        _driver.Turn(queue);
        Assert.Equal((6, 512), _driver.Commits.Last());
        Assert.All(ReadCharDevice(6, 512), b => Assert.Equal(9, b));
        Finish(queue);
    }

    [Fact]
    public void Draining_parks_requests_and_finishes_with_the_last_in_flight()
    {
        UblkQueue queue = Start(Copying());
        _driver.Deliver(0, UBLK_IO_OP_FLUSH, 0, 0);
        _driver.Turn(queue);
        Task drained = queue.Drain();
        _driver.Deliver(1, UBLK_IO_OP_READ, 512, 512);
        _driver.Turn(queue);
        Assert.Single(_device.Requests);
        Assert.False(drained.IsCompleted);
        _device.Complete(0, 0);
        Assert.True(drained.IsCompletedSuccessfully);
        Assert.Empty(_device.Requests);
        queue.Resume();
        Assert.Equal(512, Assert.Single(_device.Requests).OffsetBytes);
        _device.Complete(0, 0);
        Finish(queue);
    }

    [Fact]
    public void Ends_when_the_driver_has_taken_every_tag_back()
    {
        UblkQueue queue = Start(Copying());
        _driver.Deliver(7, UBLK_IO_OP_FLUSH, 0, 0);
        _driver.Turn(queue);
        _driver.AbortAll();
        _driver.Turn(queue);
        Assert.False(queue.Ended.IsCompleted); // one request is still with the volume
        _device.Complete(0, 0);
        _driver.Turn(queue);
        _driver.AbortAll();
        _driver.Turn(queue);
        Assert.True(queue.Ended.IsCompletedSuccessfully);
        Assert.Equal(0, queue.Failure);
        Assert.False(queue.Failed.IsCompleted);
        queue.Dispose();
    }

    [Fact]
    public void A_refused_command_is_told_with_its_number()
    {
        UblkQueue queue = Start(Copying());
        _driver.Complete(0, -Errno.EINVAL);
        _driver.Turn(queue);
        Assert.True(queue.Failed.IsCompletedSuccessfully);
        Assert.Equal(-Errno.EINVAL, queue.Failure);
        _driver.AbortAll();
        _driver.Turn(queue);
        Assert.True(queue.Ended.IsCompletedSuccessfully);
        queue.Dispose();
    }

    [Fact]
    public void An_abandoned_queue_takes_no_request()
    {
        UblkQueue queue = Start(Copying());
        queue.Abandon();
        _driver.Deliver(0, UBLK_IO_OP_READ, 0, 4096);
        _driver.Turn(queue);
        Assert.Empty(_device.Requests);
        Assert.Empty(_driver.Commits);
    }

    [Fact]
    public void Allocates_nothing_for_a_request()
    {
        UblkQueue queue = Start(Copying());
        _device.Answer = _ => 0;
        Round(queue, 200);
        _driver.Commands.Clear();
        _driver.Commands.EnsureCapacity(100_000);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Round(queue, 1000);
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.Equal(0, allocated);
        Finish(queue);
    }

    private void Round(UblkQueue queue, int rounds)
    {
        for (int i = 0; i < rounds; i++)
        {
            _driver.Deliver(i % Depth, i % 2 == 0 ? UBLK_IO_OP_READ : UBLK_IO_OP_WRITE, 4096, 4096);
            _driver.Turn(queue);
        }
    }

    private static UblkPlan Copying() => new(UblkCopyMode.Copy, false, false, "test");

    private UblkQueueSettings Settings(UblkPlan plan) => new(QueueId, Depth, _charFd, plan, MaxIoBytes, 4096, plan.Mode == UblkCopyMode.ZeroCopy ? FirstBuffer : -1);

    private UblkQueue Start(UblkPlan plan, bool readOnly = false)
    {
        UblkQueueSettings settings = Settings(plan) with { ReadOnly = readOnly };
        var queue = new UblkQueue(settings, _reactor, _driver.Ring, _device, _driver.Descriptors);
        Assert.Equal(0, queue.FetchAll());
        _driver.Ring.Submit();
        Assert.Equal(Depth, _driver.Commands.Count);
        return queue;
    }

    private void Finish(UblkQueue queue)
    {
        _driver.Turn(queue);
        _driver.AbortAll();
        _driver.Turn(queue);
        Assert.True(queue.Ended.IsCompleted);
        queue.Dispose();
    }

    /// <summary>A sparse file stands for /dev/ublkcN: positions are what counts.</summary>
    private void MakeCharDevice()
    {
        string path = Path.GetTempFileName();
        _files.Add(path);
        _charFd = Libc.open(path, Libc.O_RDWR | Libc.O_CLOEXEC);
        Assert.True(_charFd >= 0);
    }

    private static long Position(int tag) => 0x80000000L + ((long)QueueId << 41) + ((long)tag << 25);

    private byte[] ReadCharDevice(int tag, int bytes)
    {
        byte[] data = new byte[bytes];
        fixed (byte* p = data)
        {
            Assert.Equal(bytes, Libc.pread(_charFd, p, (nuint)bytes, Position(tag)));
        }

        return data;
    }

    private void WriteCharDevice(int tag, byte[] data)
    {
        fixed (byte* p = data)
        {
            Assert.Equal(data.Length, Libc.pwrite(_charFd, p, (nuint)data.Length, Position(tag)));
        }
    }

    private sealed class NoHandler : Polyblk.Core.Uring.IUringHandler
    {
        public void OnUringCompletion(uint tag, int result, uint flags) => Assert.Fail("Nothing of this handler completes.");
    }
}
