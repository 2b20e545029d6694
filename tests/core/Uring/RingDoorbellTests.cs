using System.IO.Pipes;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;
using Polyblk.Core.Uring;

namespace Polyblk.Core.Tests.Uring;

public sealed class RingDoorbellTests
{
    [Fact]
    public async Task ACompletionWakesASleepingReactor()
    {
        // The reactor would sleep for an hour: a completion that does not wake it fails the test.
        using var reactor = new Reactor(new ReactorOptions { Idle = IdlePolicy.Frugal, RingEntries = 8, MaxSleepNs = 3_600_000_000_000 });
        Assert.NotNull(reactor.Ring);
        var handler = new Signal();
        int index = await reactor.InvokeAsync(() => reactor.Ring.Attach(handler));
        using var pipe = new AnonymousPipeServerStream(PipeDirection.In);
        using var writer = new AnonymousPipeClientStream(PipeDirection.Out, pipe.ClientSafePipeHandle);
        int fd = (int)pipe.SafePipeHandle.DangerousGetHandle();
        var one = new byte[1];
        for (int i = 1; i <= 30; i++)
        {
            handler.Done = new TaskCompletionSource<int>(TaskCreationOptions.RunContinuationsAsynchronously);
            await reactor.InvokeAsync(() => Poll(reactor.Ring, index, fd));
            await Task.Delay(2);
            writer.Write(one);
            writer.Flush();
            Assert.Equal((int)Libc.EPOLLIN, await handler.Done.Task.WaitAsync(TimeSpan.FromSeconds(20)));
            Assert.Equal(1, pipe.Read(one));
        }

        await reactor.InvokeAsync(() => reactor.Ring.Detach(index));
    }

    private static unsafe void Poll(IoUring ring, int handler, int fd)
    {
        io_uring_sqe* sqe = ring.TryGetSqe(handler, 0);
        sqe->opcode = UringAbi.IORING_OP_POLL_ADD;
        sqe->fd = fd;
        sqe->poll32_events = (uint)Libc.EPOLLIN;
    }

    private sealed class Signal : IUringHandler
    {
        public TaskCompletionSource<int> Done { get; set; } = new();

        public void OnUringCompletion(uint tag, int result, uint flags) => Done.SetResult(result);
    }
}
