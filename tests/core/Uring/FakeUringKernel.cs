using System.Runtime.InteropServices;
using Polyblk.Core.Uring;
using io_uring_cqe = Tmds.Linux.io_uring_cqe;

namespace Polyblk.Core.Tests.Uring;

/// <summary>Plays the kernel over ring memory of its own: consumes entries and posts completions when the test says so.</summary>
internal sealed unsafe class FakeUringKernel : IUringKernel, IDisposable
{
    private const int SqeBytes = 64;
    private readonly uint* _words;

    /// <param name="entries">Submission entries, a power of two; there are four times as many completion entries.</param>
    /// <param name="start">Where all indices start: near the end of their range they wrap.</param>
    public FakeUringKernel(uint entries, uint start = 0)
    {
        _words = (uint*)NativeMemory.AllocZeroed(16 + entries, sizeof(uint));
        Memory = new UringMemory
        {
            SqHead = _words, SqTail = _words + 1, SqFlags = _words + 2, CqHead = _words + 3, CqTail = _words + 4, CqFlags = _words + 5,
            SqArray = _words + 16,
            SqMask = entries - 1, SqEntries = entries, CqMask = (entries * 4) - 1, CqEntries = entries * 4, SqeBytes = SqeBytes,
            Sqes = (byte*)NativeMemory.AllocZeroed(entries, SqeBytes),
            Cqes = (io_uring_cqe*)NativeMemory.AllocZeroed(entries * 4, (nuint)sizeof(io_uring_cqe)),
        };
        *Memory.SqHead = *Memory.SqTail = *Memory.CqHead = *Memory.CqTail = start;
    }

    public UringMemory Memory { get; }

    /// <summary>The calls of io_uring_enter: how many entries were offered, and the flags.</summary>
    public List<(uint ToSubmit, uint Flags)> Enters { get; } = [];

    /// <summary>
    /// The next results of io_uring_enter: a negative errno, or the most entries it takes. Without any it takes all.
    /// </summary>
    public Queue<int> Results { get; } = new();

    /// <summary>user_data of the entries consumed and not completed.</summary>
    public List<ulong> Taken { get; } = [];

    public void SetFlags(uint flags) => *Memory.SqFlags = flags;

    public int Enter(uint toSubmit, uint minComplete, uint flags)
    {
        Enters.Add((toSubmit, flags));
        int result = Results.TryDequeue(out int wanted) ? wanted : int.MaxValue;
        if (result < 0)
        {
            return result;
        }

        uint available = Volatile.Read(ref *Memory.SqTail) - *Memory.SqHead;
        uint count = Math.Min((uint)result, Math.Min(toSubmit, available));
        for (uint i = 0; i < count; i++)
        {
            uint index = Memory.SqArray[*Memory.SqHead & Memory.SqMask];
            Taken.Add(((io_uring_sqe*)(Memory.Sqes + (index * SqeBytes)))->user_data);
            ++*Memory.SqHead;
        }

        return (int)count;
    }

    public int Register(uint opcode, void* arg, uint nrArgs) => -22;

    /// <summary>Posts a completion.</summary>
    public void Complete(ulong userData, int result, uint flags = 0)
    {
        Memory.Cqes[*Memory.CqTail & Memory.CqMask] = new io_uring_cqe { user_data = userData, res = result, flags = flags };
        Volatile.Write(ref *Memory.CqTail, *Memory.CqTail + 1);
        Taken.Remove(userData);
    }

    public void Dispose()
    {
        NativeMemory.Free(_words);
        NativeMemory.Free(Memory.Sqes);
        NativeMemory.Free(Memory.Cqes);
    }
}
