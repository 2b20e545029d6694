using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Uring;
using io_uring_cqe = Tmds.Linux.io_uring_cqe;
using static Polyblk.Frontends.Ublk.UblkAbi;

namespace Polyblk.Frontends.Ublk.Tests;

/// <summary>
/// Plays the io_uring and the ublk driver behind it for one queue: takes FETCH and COMMIT_AND_FETCH as the driver does, and hands
/// requests over through descriptors of its own.
/// </summary>
internal sealed unsafe class FakeDriverRing : IUringKernel, IDisposable
{
    public const int DefaultEntries = 64;
    private const int SqeBytes = 64;

    private readonly uint* _words;
    private readonly UringMemory _memory;
    private readonly Dictionary<int, ulong> _held = [];

    public FakeDriverRing(int depth, uint entries = DefaultEntries)
    {
        _words = (uint*)NativeMemory.AllocZeroed(16 + entries, sizeof(uint));
        _memory = new UringMemory
        {
            SqHead = _words, SqTail = _words + 1, SqFlags = _words + 2, CqHead = _words + 3, CqTail = _words + 4, SqArray = _words + 16,
            SqMask = entries - 1, SqEntries = entries, CqMask = (entries * 4) - 1, CqEntries = entries * 4, SqeBytes = SqeBytes,
            Sqes = (byte*)NativeMemory.AllocZeroed(entries, SqeBytes),
            Cqes = (io_uring_cqe*)NativeMemory.AllocZeroed(entries * 4, (nuint)sizeof(io_uring_cqe)),
        };
        Descriptors = (ublksrv_io_desc*)NativeMemory.AllocZeroed((nuint)depth, (nuint)sizeof(ublksrv_io_desc));
        Ring = new IoUring(this, _memory, 0);
    }

    public IoUring Ring { get; }

    public ublksrv_io_desc* Descriptors { get; }

    /// <summary>What was submitted: the command, its payload, and the auto-registration index.</summary>
    public List<(uint Command, ublksrv_io_cmd Io, ulong Addr)> Commands { get; } = [];

    /// <summary>Entries that io_uring_enter takes at most; 0 plays a kernel that takes nothing now.</summary>
    public int TakesAtMost { get; set; } = int.MaxValue;

    /// <summary>Results of commits by tag, in the order in which they came.</summary>
    public IEnumerable<(int Tag, int Result)> Commits => Commands.Where(c => c.Command == UBLK_U_IO_COMMIT_AND_FETCH_REQ).Select(c => ((int)c.Io.tag, c.Io.result));

    public int Enter(uint toSubmit, uint minComplete, uint flags)
    {
        int taken = 0;
        while (taken < TakesAtMost && taken < toSubmit)
        {
            var sqe = (io_uring_sqe*)(_memory.Sqes + (_memory.SqArray[*_memory.SqHead & _memory.SqMask] * SqeBytes));
            ++*_memory.SqHead;
            taken++;
            if (sqe->opcode == UringAbi.IORING_OP_URING_CMD)
            {
                ublksrv_io_cmd io = *(ublksrv_io_cmd*)sqe->cmd;
                Fetch(io.tag, sqe->user_data);
                Commands.Add((sqe->cmd_op, io, sqe->addr));
            }
        }

        return taken == 0 && toSubmit != 0 ? -Errno.EBUSY : taken;
    }

    public int Register(uint opcode, void* arg, uint nrArgs) => -Errno.EINVAL;

    /// <summary>Hands a request to the server.</summary>
    public void Deliver(int tag, byte operation, long offsetBytes, long lengthBytes, uint flags = 0)
    {
        Descriptors[tag] = new ublksrv_io_desc
        {
            op_flags = operation | flags, start_sector = (ulong)offsetBytes >> 9, nr_sectors = (uint)(lengthBytes >> 9), addr = 0,
        };
        Complete(tag, UBLK_IO_RES_OK);
    }

    /// <summary>Ends the command of a tag.</summary>
    public void Complete(int tag, int result)
    {
        if (!_held.Remove(tag, out ulong userData))
        {
            Assert.Fail($"Tag {tag} is not fetched.");
        }

        _memory.Cqes[*_memory.CqTail & _memory.CqMask] = new io_uring_cqe { user_data = userData, res = result };
        Volatile.Write(ref *_memory.CqTail, *_memory.CqTail + 1);
    }

    /// <summary>Takes every tag back that the server has not got, as STOP_DEV does.</summary>
    public void AbortAll()
    {
        foreach (int tag in _held.Keys.ToArray())
        {
            Complete(tag, UBLK_IO_RES_ABORT);
        }
    }

    /// <summary>A turn of the reactor.</summary>
    public void Turn(UblkQueue queue)
    {
        Ring.Reap();
        queue.Poll();
        Ring.Submit();
    }

    private void Fetch(int tag, ulong userData)
    {
        // No message is made where all is well: a test counts allocations.
        if (!_held.TryAdd(tag, userData))
        {
            Assert.Fail($"Tag {tag} is fetched twice.");
        }
    }

    public void Dispose()
    {
        NativeMemory.Free(_words);
        NativeMemory.Free(_memory.Sqes);
        NativeMemory.Free(_memory.Cqes);
        NativeMemory.Free(Descriptors);
    }
}
