using Polyblk.Core.Interop;

namespace Polyblk.Core.Uring;

/// <summary>The kernel as a ring sees it: the seam where a test plays the kernel.</summary>
internal unsafe interface IUringKernel
{
    /// <summary>io_uring_enter(2): entries consumed, or a negative errno.</summary>
    int Enter(uint toSubmit, uint minComplete, uint flags);

    /// <summary>io_uring_register(2): a result or a negative errno.</summary>
    int Register(uint opcode, void* arg, uint nrArgs);
}

/// <summary>The real kernel.</summary>
internal sealed unsafe class UringKernel(int ringFd) : IUringKernel
{
    public int Enter(uint toSubmit, uint minComplete, uint flags) => Libc.io_uring_enter(ringFd, toSubmit, minComplete, flags);

    public int Register(uint opcode, void* arg, uint nrArgs) => Libc.io_uring_register(ringFd, opcode, arg, nrArgs);
}
