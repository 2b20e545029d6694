// A drive in anonymous memory. Pages appear when they are first written (reads of others give zeroes), huge ones where the kernel
// has them; discards give them back. Requests are copied by the reactor's thread inside Submit.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;

namespace Polyblk.Drives.Ram;

/// <summary>A drive whose content is memory of this process (<c>ram:SIZE</c>); gone when it is disposed.</summary>
public sealed unsafe class RamDrive : IBlockDevice
{
    private const long HugePageBytes = 2 << 20;
    private readonly nuint _mappedBytes;
    private byte* _memory;

    /// <summary>Makes one, filled with zeroes.</summary>
    /// <param name="sizeBytes">Size, a multiple of the block size.</param>
    /// <param name="logicalBlockSize">512 or 4096.</param>
    /// <param name="readOnly">Refuse writes.</param>
    /// <exception cref="IOException">The machine has not that much memory.</exception>
    public RamDrive(long sizeBytes, int logicalBlockSize = 512, bool readOnly = false)
    {
        DriveGeometry.Check(sizeBytes, logicalBlockSize);
        SizeBytes = sizeBytes;
        _mappedBytes = (nuint)((sizeBytes + HugePageBytes - 1) & -HugePageBytes);

        // Without MAP_NORESERVE: the kernel refuses what it obviously cannot give, instead of killing a process later.
        void* memory = Libc.mmap(null, _mappedBytes, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS, -1, 0);
        if (memory == Libc.MAP_FAILED)
        {
            throw DriveGeometry.Error(Name, "there is not enough memory; choose a smaller size.", Errno.ENOMEM);
        }

        // Advice: a kernel without transparent huge pages uses small ones.
        _ = DriveCalls.madvise(memory, _mappedBytes, Libc.MADV_HUGEPAGE);

        // What is stored here is in no core dump.
        _ = DriveCalls.madvise(memory, _mappedBytes, Libc.MADV_DONTDUMP);
        _memory = (byte*)memory;
        Limits = new BlockLimits
        {
            LogicalBlockSize = logicalBlockSize,
            PhysicalBlockSize = 4096,
            VolatileCache = false,
            IsEphemeral = true,
            Discard = true,
            DiscardGranularity = 4096,
            ReadOnly = readOnly,
            NeedsCpuAccessForReads = true,
            NeedsCpuAccessForWrites = true,
        };
    }

    /// <inheritdoc/>
    public event Action<IBlockDevice>? Resized
    {
        add { }
        remove { }
    }

    /// <inheritdoc/>
    public string Name => $"ram:{ByteSize.Format(SizeBytes)}";

    /// <inheritdoc/>
    public long SizeBytes { get; }

    /// <inheritdoc/>
    public BlockLimits Limits { get; }

    /// <inheritdoc/>
    public IBlockQueue OpenQueue(Reactor reactor) => new Queue(this, reactor);

    /// <inheritdoc/>
    public ValueTask DisposeAsync()
    {
        byte* memory = _memory;
        _memory = null;
        if (memory is not null)
        {
            _ = Libc.munmap(memory, _mappedBytes);
        }

        return ValueTask.CompletedTask;
    }

    /// <summary>Zeroes a range: whole pages are given back to the kernel when that pays, the rest is written.</summary>
    private static void Clear(byte* address, long length, bool giveBack)
    {
        byte* first = (byte*)(((nuint)address + 4095) & ~(nuint)4095);
        byte* end = (byte*)(((nuint)address + (nuint)length) & ~(nuint)4095);
        if (!giveBack || end <= first || DriveCalls.madvise(first, (nuint)(end - first), Libc.MADV_DONTNEED) < 0)
        {
            NativeMemory.Clear(address, (nuint)length);
            return;
        }

        NativeMemory.Clear(address, (nuint)(first - address));
        NativeMemory.Clear(end, (nuint)(address + length - end));
    }

    private sealed class Queue(RamDrive drive, Reactor reactor) : InlineQueue(reactor), IMemoryQueue
    {
        private readonly byte* _memory = drive._memory;
        private readonly long _sizeBytes = drive.SizeBytes;
        private readonly long _blockMask = drive.Limits.LogicalBlockSize - 1;
        private readonly bool _readOnly = drive.Limits.ReadOnly;

        public byte* Memory => _memory;

        public override void Submit(BlockRequest request)
        {
            int status = RequestCheck.Validate(request, _sizeBytes, _blockMask, _readOnly);
            if (status == 0)
            {
                if (request.LengthBytes > DataPieceBytes)
                {
                    Wait(request);
                    return;
                }

                status = Execute(request, 0, request.LengthBytes);
            }

            request.Complete(status);
        }

        protected override int Execute(BlockRequest request, long done, long length)
        {
            byte* memory = _memory + request.OffsetBytes + done;
            switch (request.Operation)
            {
                case BlockOperation.Read:
                case BlockOperation.Write:
                    if ((request.Traits & BufferTraits.CpuAccessible) == 0)
                    {
                        return -Errno.EFAULT;
                    }

                    return done == 0 && request.VectorCount == 1
                        ? Copy(memory, request.Vectors[0], (nuint)length, request.Operation)
                        : CopySegments(request, memory, done, length);
                case BlockOperation.Discard:
                    Clear(memory, length, giveBack: true);
                    return 0;
                case BlockOperation.WriteZeroes:
                    Clear(memory, length, giveBack: (request.Flags & BlockFlags.Unmap) != 0 && length >= HugePageBytes);
                    return 0;
                default:
                    return 0;
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static int Copy(byte* memory, in IoVec segment, nuint length, BlockOperation operation)
        {
            if (segment.Length < length)
            {
                return -Errno.EINVAL;
            }

            if (operation == BlockOperation.Read)
            {
                Buffer.MemoryCopy(memory, segment.Base, length, length);
            }
            else
            {
                Buffer.MemoryCopy(segment.Base, memory, length, length);
            }

            return 0;
        }

        private static int CopySegments(BlockRequest request, byte* memory, long done, long length)
        {
            var cursor = new IoVecCursor(request.Vectors, request.VectorCount);
            cursor.Skip(done);
            while (length != 0)
            {
                IoVec run = cursor.NextRun(length);
                if (run.Length == 0)
                {
                    return -Errno.EINVAL;
                }

                _ = Copy(memory, run, run.Length, request.Operation);
                memory += run.Length;
                length -= (long)run.Length;
            }

            return 0;
        }
    }
}
