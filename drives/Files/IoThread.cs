// A thread that does requests with blocking system calls: where there is no io_uring, and for discards on kernels whose io_uring
// has none.
//
// Reactor to thread: a mailbox and a sleep gate, as into a reactor; thread to reactor: Reactor.Post. A request is its own list
// node both ways, so nothing is allocated.

using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;

namespace Polyblk.Drives.Files;

/// <summary>One I/O thread of one reactor's queue. Made, used and disposed by that reactor's thread.</summary>
internal sealed unsafe class IoThread : IDisposable
{
    private readonly FileDrive _drive;
    private readonly Reactor _reactor;
    private readonly Mailbox _mailbox = new();
    private readonly SleepGate _gate = new();
    private readonly BouncePool? _bounce;
    private readonly Thread _thread;
    private readonly int _doorbellFd;
    private int _pending;
    private bool _stopping;

    /// <summary>Starts the thread.</summary>
    /// <exception cref="IOException">There is no descriptor to be had.</exception>
    public IoThread(FileDrive drive, Reactor reactor)
    {
        _drive = drive;
        _reactor = reactor;
        _doorbellFd = Libc.eventfd(0, Libc.EFD_CLOEXEC);
        if (_doorbellFd < 0)
        {
            throw DriveGeometry.Error(drive.Name, "there is no descriptor for an I/O thread; raise the limit (ulimit -n)", -_doorbellFd);
        }

        _bounce = drive.IsDirect ? new BouncePool(1) : null;
        _thread = new Thread(Main) { IsBackground = true, Name = "polyblk-io" };
        _thread.Start();
    }

    /// <summary>Requests that it has been given and has not handed back.</summary>
    public int Pending => Volatile.Read(ref _pending);

    /// <summary>Gives it a valid request. On the reactor's thread.</summary>
    public void Post(BlockRequest request)
    {
        Interlocked.Increment(ref _pending);
        Send(request);
    }

    public void Dispose()
    {
        if (Pending != 0)
        {
            throw new InvalidOperationException($"Requests to {_drive.Name} are in flight.");
        }

        Send(new DelegateWork(() => _stopping = true));
        _thread.Join();
        _ = Libc.close(_doorbellFd);
        _bounce?.Dispose();
    }

    private void Send(ReactorWork work)
    {
        _mailbox.Post(work);
        if (_gate.MustRing())
        {
            Libc.SignalEventFd(_doorbellFd);
        }
    }

    private void Main()
    {
        // It was started by a pinned thread and inherits that. A refusal leaves it there: slower, not wrong.
        _ = _reactor.HelperCpus?.PinCurrentThread();
        while (!_stopping)
        {
            ReactorWork? work = _mailbox.TakeAll();
            if (work is null)
            {
                Sleep();
            }

            while (work is not null)
            {
                ReactorWork? next = work.NextWork;
                if (work is BlockRequest request)
                {
                    request.Status = Execute(request);
                    Interlocked.Decrement(ref _pending);
                    _reactor.Post(request);
                }
                else
                {
                    work.Run();
                }

                work = next;
            }
        }
    }

    private void Sleep()
    {
        _gate.Enter();
        if (_mailbox.IsEmpty)
        {
            ulong rings;
            _ = Libc.read(_doorbellFd, &rings, sizeof(ulong));
        }

        _gate.Leave();
    }

    private int Execute(BlockRequest request)
    {
        if (!request.HasData)
        {
            return BlockingIo.ExecuteRange(_drive.Fd, request, 0, request.LengthBytes, _drive.File.IsBlockDevice, flush: true);
        }

        if ((request.Traits & BufferTraits.CpuAccessible) == 0)
        {
            return -Errno.EFAULT;
        }

        int flags = (request.Flags & BlockFlags.Fua) != 0 && request.Operation == BlockOperation.Write ? (int)Core.Uring.UringAbi.RWF_DSYNC : 0;
        nuint mask = (nuint)_drive.Limits.BufferAlignment - 1;
        return _bounce is null || BouncePool.IsAligned(request, mask, mask)
            ? BlockingIo.Transfer(_drive.Fd, request, 0, request.LengthBytes, flags)
            : BlockingIo.TransferBounced(_drive.Fd, request, 0, request.LengthBytes, flags, _bounce.Address(0));
    }
}
