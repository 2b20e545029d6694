// An io_uring instance of one thread, by raw system calls.
//
// Theory of operation
//   * Entries are filled in place and become visible to the kernel with one release store of the tail; Submit()
//     makes one io_uring_enter for everything that was filled in a turn, and none when there is nothing to tell the kernel.
//   * With DEFER_TASKRUN (Linux 6.1) completions are posted only inside io_uring_enter(GETEVENTS); TASKRUN_FLAG makes the kernel say
//     in the ring's flags that it has some, so a turn without news costs no system call. IOPOLL rings must always enter.
//   * Who sleeps watches an eventfd of the ring (see DoorbellFd): the ring's own descriptor becomes readable only when completions are
//     posted, which with DEFER_TASKRUN is inside the next io_uring_enter, too late for a sleeper. The kernel signals the eventfd when
//     work arrives; while its owner is awake IORING_CQ_EVENTFD_DISABLED saves it the trouble. One kind of work does not ring reliably
//     (tried on Linux 6.18): a poll operation on another eventfd, whose write may not signal an eventfd in turn. Watch those by epoll.
//   * user_data is the handler's index (high 32 bits) and the handler's own tag (low 32 bits): no table of operations, no object each.
//   * Older kernels: the flags are tried from best to plain, and what was obtained is kept in Features for the log.
// One thread makes, uses and disposes the ring (SINGLE_ISSUER).

using System.Runtime.CompilerServices;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;
using static Polyblk.Core.Uring.UringAbi;

namespace Polyblk.Core.Uring;

/// <summary>A submission and completion ring. Not thread-safe: the thread that made it uses it.</summary>
public sealed unsafe class IoUring : IDisposable
{
    private const int MaxHandlers = 4096;

    private readonly IUringKernel _kernel;
    private readonly UringMemory _memory;
    private readonly IUringHandler?[] _handlers = new IUringHandler?[MaxHandlers];
    private readonly bool _ioPoll;
    private readonly bool _taskrunFlag;
    private RegisteredFileTable? _files;
    private int _doorbellFd = -1;
    private uint _sqTail;
    private uint _submitted;
    private uint _inFlight;
    private BufferTable? _buffers;

    internal IoUring(IUringKernel kernel, UringMemory memory, uint setupFlags)
    {
        _kernel = kernel;
        _memory = memory;
        SetupFlags = setupFlags;
        _ioPoll = (setupFlags & IORING_SETUP_IOPOLL) != 0;
        _taskrunFlag = (setupFlags & IORING_SETUP_TASKRUN_FLAG) != 0;
        _sqTail = Volatile.Read(ref *memory.SqTail);
        _submitted = _sqTail;
        Pinned = new PinnedMemory(this);
    }

    /// <summary>IORING_SETUP_* flags in force.</summary>
    public uint SetupFlags { get; }

    /// <summary>The ring's descriptor. -1 when a test plays the kernel.</summary>
    public int RingFd => _memory.RingFd;

    /// <summary>
    /// What to watch, edge-triggered, for news while asleep: an eventfd that the kernel signals between <see cref="ArmDoorbell"/>
    /// and
    /// <see cref="DisarmDoorbell"/>, or the ring itself where there is none. Never read.
    /// </summary>
    public int DoorbellFd => _doorbellFd >= 0 ? _doorbellFd : RingFd;

    /// <summary>Operations handed out by <see cref="TryGetSqe"/> and not completed yet.</summary>
    public uint InFlight => _inFlight;

    /// <summary>Whether filled entries wait for <see cref="Submit"/>.</summary>
    public bool HasUnsubmitted => _sqTail != _submitted;

    /// <summary>io_uring_enter calls so far.</summary>
    public long Enters { get; private set; }

    /// <summary>The ring's table of registered buffers.</summary>
    public BufferTable Buffers => _buffers ??= new BufferTable(this);

    /// <summary>The memory that is registered with the ring (see <see cref="SharedMemory"/>).</summary>
    public PinnedMemory Pinned { get; }

    /// <summary>What was obtained, for the log: for example <c>single-issuer, defer-taskrun</c>.</summary>
    public string Features => DescribeFlags(SetupFlags);

    /// <summary>Makes a ring with the best flags that this kernel has.</summary>
    /// <param name="options">What the ring is for.</param>
    /// <param name="ring">The ring, or null.</param>
    /// <param name="reason">Why there is none, or why it is not the best: for the log. Empty when all is well.</param>
    public static bool TryCreate(IoUringOptions options, out IoUring? ring, out string reason) =>
        TryCreate(options, Libc.io_uring_setup, out ring, out reason);

    /// <summary>io_uring_setup(2): a descriptor or a negative errno. The seam for a kernel that lacks things.</summary>
    internal delegate int Setup(uint entries, void* parameters);

    internal static bool TryCreate(IoUringOptions options, Setup setup, out IoUring? ring, out string reason)
    {
        ArgumentNullException.ThrowIfNull(options);
        uint wanted = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | (options.LargeSqe ? IORING_SETUP_SQE128 : 0)
            | (options.IoPoll ? IORING_SETUP_IOPOLL : 0);
        ReadOnlySpan<uint> ladder =
        [
            IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
            IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
            0,
        ];
        reason = string.Empty;
        int error = 0;
        for (int step = 0; step < ladder.Length; step++)
        {
            io_uring_params parameters = default;
            parameters.flags = wanted | ladder[step];
            parameters.cq_entries = options.Entries * 4;
            int fd = setup(options.Entries, &parameters);
            if (fd >= 0)
            {
                UringMemory? memory = UringMemory.TryMap(fd, parameters);
                if (memory is null)
                {
                    error = Errno.ENOMEM;
                    break;
                }

                if (step != 0)
                {
                    reason = $"this kernel's io_uring has only: {DescribeFlags(parameters.flags)}";
                }

                ring = new IoUring(new UringKernel(fd), memory, parameters.flags);
                ring.MakeDoorbell();
                return true;
            }

            error = -fd;
            if (error != Errno.EINVAL)
            {
                break;
            }
        }

        ring = null;
        reason = error switch
        {
            Errno.ENOSYS => "this kernel has no io_uring",
            Errno.EPERM => "io_uring is forbidden here (sysctl kernel.io_uring_disabled, or a container's seccomp profile)",
            Errno.ENOMEM => "io_uring needs more locked memory (raise RLIMIT_MEMLOCK: ulimit -l)",
            Errno.EINVAL when options.LargeSqe => "this kernel's io_uring has no 128-byte entries (Linux 5.19 has)",
            _ => $"io_uring_setup failed with errno {error}",
        };
        return false;
    }

    /// <summary>Adds a handler and returns its index for <see cref="TryGetSqe"/>.</summary>
    /// <exception cref="InvalidOperationException">There are 4096 handlers already.</exception>
    public int Attach(IUringHandler handler)
    {
        int index = Array.IndexOf(_handlers, null);
        if (index < 0)
        {
            throw new InvalidOperationException($"A ring serves at most {MaxHandlers} handlers.");
        }

        _handlers[index] = handler;
        return index;
    }

    /// <summary>Takes a handler out. None of its operations may be in flight.</summary>
    public void Detach(int handler) => _handlers[handler] = null;

    /// <summary>
    /// Takes the next free submission entry, cleared but for its user_data; it is submitted with the next turn.
    /// A full ring is submitted at once to make room; null only when the kernel takes nothing now.
    /// </summary>
    public io_uring_sqe* TryGetSqe(int handler, uint tag)
    {
        if (_sqTail - Volatile.Read(ref *_memory.SqHead) >= _memory.SqEntries)
        {
            Submit();
            if (_sqTail - Volatile.Read(ref *_memory.SqHead) >= _memory.SqEntries)
            {
                return null;
            }
        }

        uint index = _sqTail & _memory.SqMask;
        _memory.SqArray[index] = index;
        byte* entry = _memory.Sqes + ((nuint)index * _memory.SqeBytes);
        Unsafe.InitBlockUnaligned(entry, 0, _memory.SqeBytes);
        var sqe = (io_uring_sqe*)entry;
        sqe->user_data = ((ulong)(uint)handler << 32) | tag;
        _sqTail++;
        _inFlight++;
        return sqe;
    }

    /// <summary>Tells the kernel of filled entries; without any, and without news in the ring's flags, makes no call.</summary>
    /// <returns>0, or a negative errno (-EAGAIN and -EBUSY: try again after reaping).</returns>
    public int Submit()
    {
        // Pairs with the kernel's acquire load of the tail: the entries are complete before the tail shows them.
        Volatile.Write(ref *_memory.SqTail, _sqTail);
        uint waiting = _sqTail - _submitted;
        uint news = Volatile.Read(ref *_memory.SqFlags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
        bool getEvents = news != 0 || (_inFlight != 0 && (_ioPoll || !_taskrunFlag));
        if (waiting == 0 && !getEvents)
        {
            return 0;
        }

        Enters++;
        int consumed = _kernel.Enter(waiting, 0, getEvents || _taskrunFlag ? IORING_ENTER_GETEVENTS : 0);
        if (consumed < 0)
        {
            return consumed;
        }

        _submitted += (uint)consumed;
        return 0;
    }

    /// <summary>
    /// News from here on ring the doorbell. Look at <see cref="HasNews"/> afterwards: the fence in here pairs with the kernel's
    /// between queueing work and reading the flag, so news are seen there or ring.
    /// </summary>
    public void ArmDoorbell()
    {
        if (_memory.CqFlags is not null)
        {
            Volatile.Write(ref *_memory.CqFlags, 0);
            Interlocked.MemoryBarrier();
        }
    }

    /// <summary>The owner is awake and looks by itself. A signal that comes nevertheless does no harm.</summary>
    public void DisarmDoorbell()
    {
        if (_memory.CqFlags is not null)
        {
            Volatile.Write(ref *_memory.CqFlags, IORING_CQ_EVENTFD_DISABLED);
        }
    }

    /// <summary>Whether completions can be reaped now, or the kernel has some to post at the next <see cref="Submit"/>.</summary>
    public bool HasNews => Volatile.Read(ref *_memory.CqTail) != *_memory.CqHead
        || (Volatile.Read(ref *_memory.SqFlags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;

    /// <summary>
    /// Whether completions appear only when this ring is entered: its owner must not sleep while operations are in flight.
    /// </summary>
    public bool NeedsPolling => _ioPoll && _inFlight != 0;

    /// <summary>io_uring_register(2) on this ring: a result or a negative errno.</summary>
    public int Register(uint opcode, void* arg, uint nrArgs) => _kernel.Register(opcode, arg, nrArgs);

    /// <summary>
    /// Says where the kernel's worker threads for this thread's rings run: they do what cannot be done without waiting (fsync,
    /// fallocate). Returns 0 or a negative errno (-EINVAL before Linux 5.14).
    /// </summary>
    public int PinWorkers(CpuSet cpus)
    {
        ArgumentNullException.ThrowIfNull(cpus);
        ulong* mask = stackalloc ulong[CpuSet.MaxCpus / 64];
        int bytes = cpus.WriteMask(mask);
        return Register(IORING_REGISTER_IOWQ_AFF, mask, (uint)bytes);
    }

    /// <summary>
    /// Puts a descriptor into the ring's table of registered files, which saves the kernel looking it up for every operation
    /// (IOSQE_FIXED_FILE). Returns its index, or -1 when the table is full or not to be had: then use the descriptor itself.
    /// </summary>
    public int TryRegisterFile(int fd)
    {
        _files ??= RegisteredFileTable.TryCreate(_kernel);
        return _files?.TryAdd(_kernel, fd) ?? -1;
    }

    /// <summary>Takes a descriptor out of the table; -1 is ignored. None of its operations may be in flight.</summary>
    public void UnregisterFile(int index)
    {
        if (index >= 0)
        {
            _files!.Remove(_kernel, index);
        }
    }

    /// <summary>
    /// Closes the ring. The kernel cancels what is in flight; buffers of such operations must outlive this call.
    /// </summary>
    public void Dispose()
    {
        _memory.Dispose();
        if (_doorbellFd >= 0)
        {
            _ = Libc.close(_doorbellFd);
            _doorbellFd = -1;
        }
    }

    /// <summary>
    /// Runs the handlers of everything that the kernel has posted; makes no system call. Returns the number of completions.
    /// </summary>
    public int Reap()
    {
        // Acquire: the entries below the tail are complete (pairs with the kernel's release store).
        uint tail = Volatile.Read(ref *_memory.CqTail);
        uint head = *_memory.CqHead;
        int count = (int)(tail - head);
        while (head != tail)
        {
            io_uring_cqe cqe = _memory.Cqes[head & _memory.CqMask];
            head++;

            // Release at once: a handler may submit, and the kernel may then need the room. On x64 this is a plain store.
            Volatile.Write(ref *_memory.CqHead, head);
            if ((cqe.flags & CqeMore) == 0)
            {
                _inFlight--;
            }

            _handlers[(int)(cqe.user_data >> 32)]?.OnUringCompletion((uint)cqe.user_data, cqe.res, cqe.flags);
        }

        return count;
    }

    /// <summary>IORING_CQE_F_MORE: a multishot operation goes on.</summary>
    private const uint CqeMore = 1u << 1;

    /// <summary>Registers an eventfd. IOPOLL rings have no news to tell of.</summary>
    private void MakeDoorbell()
    {
        int fd = _ioPoll ? -1 : Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK);
        if (fd < 0)
        {
            return;
        }

        if (_kernel.Register(IORING_REGISTER_EVENTFD, &fd, 1) < 0)
        {
            _ = Libc.close(fd);
            return;
        }

        _doorbellFd = fd;
        DisarmDoorbell();
    }

    private static string DescribeFlags(uint flags)
    {
        var names = new List<string>();
        (uint flag, string name)[] known =
        [
            (IORING_SETUP_SINGLE_ISSUER, "single-issuer"), (IORING_SETUP_DEFER_TASKRUN, "defer-taskrun"),
            (IORING_SETUP_COOP_TASKRUN, "coop-taskrun"), (IORING_SETUP_IOPOLL, "iopoll"), (IORING_SETUP_SQE128, "sqe128"),
        ];
        foreach ((uint flag, string name) in known)
        {
            if ((flags & flag) != 0)
            {
                names.Add(name);
            }
        }

        return names.Count == 0 ? "plain" : string.Join(", ", names);
    }
}
