using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;
using Polyblk.Core.Uring;
using static Polyblk.Core.Uring.UringAbi;

namespace Polyblk.Core.Tests.Uring;

public sealed unsafe class IoUringTests
{
    private static uint Deferred => IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;

    [Fact]
    public void TheAbiHasItsSizes()
    {
        Assert.Equal(64, sizeof(io_uring_sqe));
        Assert.Equal(16, sizeof(Tmds.Linux.io_uring_cqe));
        Assert.Equal(40, sizeof(Tmds.Linux.io_sqring_offsets));
        Assert.Equal(40, sizeof(io_cqring_offsets));
        Assert.Equal(120, sizeof(io_uring_params));
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(uint.MaxValue - 5)]
    [InlineData(0x7FFFFFFDu)]
    public void CompletesEachOperationOnceWhileIndicesWrap(uint start)
    {
        using var kernel = new FakeUringKernel(8, start);
        var ring = new IoUring(kernel, kernel.Memory, Deferred);
        var handler = new Recorder();
        int index = ring.Attach(handler);
        uint sent = 0;
        for (int turn = 0; turn < 50; turn++)
        {
            for (int i = 0; i < 5; i++)
            {
                Assert.True(ring.TryGetSqe(index, sent++) is not null);
            }

            Assert.Equal(0, ring.Submit());

            // Completed backwards: order is the kernel's.
            foreach (ulong userData in kernel.Taken.AsEnumerable().Reverse().ToList())
            {
                kernel.Complete(userData, (int)(uint)userData);
            }

            Assert.Equal(5, ring.Reap());
        }

        Assert.Equal(0u, ring.InFlight);
        Assert.Equal(Enumerable.Range(0, (int)sent), handler.Tags.Order());
        Assert.Equal([4, 3, 2, 1, 0], handler.Tags.Take(5));
    }

    [Fact]
    public void AFullRingIsSubmittedToMakeRoomAndGivesNothingWhenTheKernelTakesNothing()
    {
        using var kernel = new FakeUringKernel(4);
        var ring = new IoUring(kernel, kernel.Memory, Deferred);
        int handler = ring.Attach(new Recorder());
        for (uint i = 0; i < 5; i++)
        {
            Assert.True(ring.TryGetSqe(handler, i) is not null);
        }

        Assert.Equal([(4u, IORING_ENTER_GETEVENTS)], kernel.Enters);
        Assert.Equal(4, kernel.Taken.Count);
        for (uint i = 5; i < 8; i++)
        {
            Assert.True(ring.TryGetSqe(handler, i) is not null);
        }

        kernel.Results.Enqueue(-Errno.EBUSY);
        Assert.True(ring.TryGetSqe(handler, 8) is null);
        Assert.Equal(8u, ring.InFlight);
        Assert.True(ring.HasUnsubmitted);
        Assert.Equal(0, ring.Submit());
        Assert.False(ring.HasUnsubmitted);
        Assert.Equal(8, kernel.Taken.Count);
    }

    [Fact]
    public void EntriesThatTheKernelLeavesAreOfferedAgain()
    {
        using var kernel = new FakeUringKernel(8);
        var ring = new IoUring(kernel, kernel.Memory, Deferred);
        int handler = ring.Attach(new Recorder());
        for (uint i = 0; i < 6; i++)
        {
            ring.TryGetSqe(handler, i);
        }

        kernel.Results.Enqueue(2);
        kernel.Results.Enqueue(-Errno.EAGAIN);
        Assert.Equal(0, ring.Submit());
        Assert.True(ring.HasUnsubmitted);
        Assert.Equal(-Errno.EAGAIN, ring.Submit());
        Assert.Equal(0, ring.Submit());
        Assert.Equal([6u, 4u, 4u], kernel.Enters.Select(e => e.ToSubmit));
        Assert.Equal(Enumerable.Range(0, 6).Select(i => (ulong)i), kernel.Taken);
    }

    [Fact]
    public void MakesNoCallWithoutNews()
    {
        using var kernel = new FakeUringKernel(8);
        var ring = new IoUring(kernel, kernel.Memory, Deferred);
        int handler = ring.Attach(new Recorder());
        ring.TryGetSqe(handler, 0);
        Assert.Equal(0, ring.Submit());
        Assert.Equal(0, ring.Submit());
        Assert.Single(kernel.Enters);
        Assert.False(ring.HasNews);
        kernel.SetFlags(IORING_SQ_TASKRUN);
        Assert.True(ring.HasNews);
        Assert.Equal(0, ring.Submit());
        Assert.Equal((0u, IORING_ENTER_GETEVENTS), kernel.Enters[^1]);
    }

    [Fact]
    public void APolledRingEntersWhileAnythingIsInFlight()
    {
        using var kernel = new FakeUringKernel(8);
        var ring = new IoUring(kernel, kernel.Memory, Deferred | IORING_SETUP_IOPOLL);
        int handler = ring.Attach(new Recorder());
        Assert.Equal(0, ring.Submit());
        Assert.Empty(kernel.Enters);
        ring.TryGetSqe(handler, 0);
        Assert.True(ring.NeedsPolling);
        Assert.Equal(0, ring.Submit());
        Assert.Equal(0, ring.Submit());
        Assert.Equal(2, kernel.Enters.Count);
        kernel.Complete(kernel.Taken[0], 0);
        Assert.Equal(1, ring.Reap());
        Assert.False(ring.NeedsPolling);
    }

    [Fact]
    public void AMultishotOperationStaysInFlightUntilItsLastCompletion()
    {
        using var kernel = new FakeUringKernel(8);
        var ring = new IoUring(kernel, kernel.Memory, Deferred);
        var handler = new Recorder();
        ring.TryGetSqe(ring.Attach(handler), 7);
        Assert.Equal(0, ring.Submit());
        kernel.Complete(7, 1, flags: 2);
        kernel.Complete(7, 2, flags: 2);
        Assert.Equal(2, ring.Reap());
        Assert.Equal(1u, ring.InFlight);
        kernel.Complete(7, 3);
        Assert.Equal(1, ring.Reap());
        Assert.Equal(0u, ring.InFlight);
    }

    [Fact]
    public void AHandlerMaySubmitFromItsCompletion()
    {
        using var kernel = new FakeUringKernel(4);
        var ring = new IoUring(kernel, kernel.Memory, Deferred);
        var handler = new Recorder();
        int index = ring.Attach(handler);
        uint next = 4;
        handler.OnEach = _ => Assert.True(ring.TryGetSqe(index, next++) is not null);
        for (uint i = 0; i < 4; i++)
        {
            ring.TryGetSqe(index, i);
        }

        Assert.Equal(0, ring.Submit());
        foreach (ulong userData in kernel.Taken.ToList())
        {
            kernel.Complete(userData, 0);
        }

        Assert.Equal(4, ring.Reap());
        Assert.Equal(0, ring.Submit());
        Assert.Equal([4ul, 5ul, 6ul, 7ul], kernel.Taken);
    }

    [Fact]
    public void TriesFlagsFromBestToPlainAndSaysWhatItGot()
    {
        var tried = new List<uint>();
        int Old(uint entries, void* parameters)
        {
            uint flags = ((io_uring_params*)parameters)->flags;
            tried.Add(flags);
            bool isNew = (flags & (IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN)) != 0;
            return isNew ? -Errno.EINVAL : Libc.io_uring_setup(entries, parameters);
        }

        Assert.True(IoUring.TryCreate(new IoUringOptions { Entries = 8 }, Old, out IoUring? ring, out string reason));
        Assert.Equal(3, tried.Count);
        Assert.Equal("plain", ring!.Features);
        Assert.Contains("plain", reason, StringComparison.Ordinal);
        ring.Dispose();
    }

    [Theory]
    [InlineData(Errno.ENOSYS, "no io_uring")]
    [InlineData(Errno.EPERM, "io_uring_disabled")]
    [InlineData(Errno.ENOMEM, "RLIMIT_MEMLOCK")]
    [InlineData(Errno.EMFILE, "errno 24")]
    public void SaysWhyThereIsNoRing(int errno, string expected)
    {
        Assert.False(IoUring.TryCreate(new IoUringOptions(), (_, _) => -errno, out IoUring? ring, out string reason));
        Assert.Null(ring);
        Assert.Contains(expected, reason, StringComparison.Ordinal);
    }

    [Fact]
    public void TheRealKernelDoesNopsAndFileIo()
    {
        Assert.True(IoUring.TryCreate(new IoUringOptions { Entries = 8 }, out IoUring? ring, out string reason), reason);
        var handler = new Recorder();
        int index = ring!.Attach(handler);
        for (uint i = 0; i < 20; i++)
        {
            io_uring_sqe* nop = ring.TryGetSqe(index, i);
            nop->opcode = IORING_OP_NOP;
        }

        Finish(ring, handler, 20);
        Assert.Equal(Enumerable.Range(0, 20), handler.Tags);

        string path = Path.GetTempFileName();
        byte* buffer = (byte*)NativeMemory.AlignedAlloc(8192, 4096);
        using (Microsoft.Win32.SafeHandles.SafeFileHandle file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite))
        {
            int fixedFile = ring.TryRegisterFile((int)file.DangerousGetHandle());
            Assert.True(fixedFile >= 0);
            new Span<byte>(buffer, 4096).Fill(0x5A);
            Transfer(ring, index, IORING_OP_WRITE, fixedFile, buffer);
            Finish(ring, handler, 21);
            Transfer(ring, index, IORING_OP_READ, fixedFile, buffer + 4096);
            Finish(ring, handler, 22);
            Assert.Equal([4096, 4096], handler.Results.Skip(20));
            Assert.True(new Span<byte>(buffer, 4096).SequenceEqual(new Span<byte>(buffer + 4096, 4096)));
            ring.UnregisterFile(fixedFile);
        }

        NativeMemory.AlignedFree(buffer);
        File.Delete(path);
        ring.Detach(index);
        ring.Dispose();
        ring.Dispose();
    }

    private static void Transfer(IoUring ring, int handler, byte opcode, int fixedFile, byte* buffer)
    {
        io_uring_sqe* sqe = ring.TryGetSqe(handler, 100);
        sqe->opcode = opcode;
        sqe->flags = IOSQE_FIXED_FILE;
        sqe->fd = fixedFile;
        sqe->addr = (ulong)buffer;
        sqe->len = 4096;
    }

    private static void Finish(IoUring ring, Recorder handler, int count)
    {
        while (handler.Tags.Count < count)
        {
            Assert.Equal(0, ring.Submit());
            ring.Reap();
        }
    }

    private sealed class Recorder : IUringHandler
    {
        public List<int> Tags { get; } = [];

        public List<int> Results { get; } = [];

        public Action<uint>? OnEach { get; set; }

        public void OnUringCompletion(uint tag, int result, uint flags)
        {
            Tags.Add((int)tag);
            Results.Add(result);
            OnEach?.Invoke(tag);
        }
    }
}
