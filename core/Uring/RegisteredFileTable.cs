using System.Runtime.InteropServices;
using static Polyblk.Core.Uring.UringAbi;

namespace Polyblk.Core.Uring;

/// <summary>The sparse table of registered files of one ring: which places are taken.</summary>
internal sealed unsafe class RegisteredFileTable
{
    private const int Capacity = 256;
    private const int Free = -1;
    private readonly int[] _fds;

    private RegisteredFileTable(int[] fds) => _fds = fds;

    /// <summary>
    /// Registers an empty table; null when the kernel gives none (before Linux 5.5, or RLIMIT_NOFILE is smaller).
    /// </summary>
    public static RegisteredFileTable? TryCreate(IUringKernel kernel)
    {
        var fds = new int[Capacity];
        Array.Fill(fds, Free);
        fixed (int* table = fds)
        {
            return kernel.Register(IORING_REGISTER_FILES, table, Capacity) < 0 ? null : new RegisteredFileTable(fds);
        }
    }

    /// <summary>Takes a place for a descriptor; -1 when there is none.</summary>
    public int TryAdd(IUringKernel kernel, int fd)
    {
        int index = Array.IndexOf(_fds, Free);
        if (index < 0 || !Update(kernel, index, fd))
        {
            return -1;
        }

        _fds[index] = fd;
        return index;
    }

    /// <summary>Frees a place.</summary>
    public void Remove(IUringKernel kernel, int index)
    {
        _ = Update(kernel, index, Free);
        _fds[index] = Free;
    }

    private static bool Update(IUringKernel kernel, int index, int fd)
    {
        var update = new io_uring_files_update { offset = (uint)index, fds = (ulong)&fd };
        return kernel.Register(IORING_REGISTER_FILES_UPDATE, &update, 1) == 1;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct io_uring_files_update
    {
        public uint offset;
        public uint resv;
        public ulong fds;
    }
}
