using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Uring;

namespace Polyblk.Core.Tests.Uring;

public sealed unsafe class BufferTableTests : IDisposable
{
    private readonly uint* _tail = (uint*)NativeMemory.AllocZeroed(sizeof(uint));

    public void Dispose() => NativeMemory.Free(_tail);

    [Fact]
    public void Registers_one_sparse_table_and_hands_out_ranges_of_it()
    {
        var kernel = new Kernel();
        BufferTable table = new IoUring(kernel, new UringMemory { SqTail = _tail }, 0).Buffers;
        Assert.Equal(0, kernel.Registrations);
        Assert.Equal(0, table.Reserve(128));
        Assert.Equal(128, table.Reserve(BufferTable.Entries - 128));
        Assert.Equal(1, kernel.Registrations);
        Assert.Equal(-Errno.ENOSPC, table.Reserve(1));

        table.Release(0, 128);
        table.Release(200, 200);
        Assert.Equal(200, table.Reserve(150));
        Assert.Equal(0, table.Reserve(128));
        Assert.Equal(350, table.Reserve(50));
        Assert.Equal(-Errno.ENOSPC, table.Reserve(1));
    }

    [Fact]
    public void A_kernel_that_refuses_leaves_nothing_reserved()
    {
        var kernel = new Kernel { Result = -Errno.EINVAL };
        BufferTable table = new IoUring(kernel, new UringMemory { SqTail = _tail }, 0).Buffers;
        Assert.Equal(-Errno.EINVAL, table.Reserve(4));
        kernel.Result = 0;
        Assert.Equal(0, table.Reserve(BufferTable.Entries));
    }

    private sealed class Kernel : IUringKernel
    {
        public int Registrations { get; private set; }

        public int Result { get; set; }

        public int Enter(uint toSubmit, uint minComplete, uint flags) => 0;

        public int Register(uint opcode, void* arg, uint nrArgs)
        {
            Assert.Equal((UringAbi.IORING_REGISTER_BUFFERS2, (uint)sizeof(io_uring_rsrc_register)), (opcode, nrArgs));
            Assert.Equal(((uint)BufferTable.Entries, UringAbi.IORING_RSRC_REGISTER_SPARSE), (((io_uring_rsrc_register*)arg)->nr, ((io_uring_rsrc_register*)arg)->flags));
            Registrations += Result == 0 ? 1 : 0;
            return Result;
        }
    }
}
