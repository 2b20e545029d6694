// The table of registered buffers of one ring.
//
// io_uring has one such table a ring and cannot grow it while it is used. So it is registered once, sparse and at the kernel's
// largest size (128 KiB of kernel memory), when the first user asks for entries; users then get ranges of it: a ublk queue whose
// requests the kernel registers by itself (UBLK_F_AUTO_BUF_REG), or memory that stays registered (PinnedMemory).

using Polyblk.Core.Block;
using static Polyblk.Core.Uring.UringAbi;

namespace Polyblk.Core.Uring;

/// <summary>Hands out ranges of a ring's registered-buffer table. On the ring's thread.</summary>
public sealed unsafe class BufferTable
{
    /// <summary>Entries of the table: the kernel's IORING_MAX_REG_BUFFERS.</summary>
    public const int Entries = 1 << 14;

    private readonly IoUring _ring;
    private readonly bool[] _used = new bool[Entries];
    private bool _registered;

    internal BufferTable(IoUring ring) => _ring = ring;

    /// <summary>Reserves consecutive entries, still empty.</summary>
    /// <param name="count">How many: 1 to <see cref="Entries"/>.</param>
    /// <returns>
    /// The first index, or a negative errno: -ENOSPC when no such range is free, or the kernel's own (-EINVAL before Linux 5.19).
    /// </returns>
    public int Reserve(int count)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        int run = 0;
        for (int i = 0; i < Entries; i++)
        {
            run = _used[i] ? 0 : run + 1;
            if (run != count)
            {
                continue;
            }

            int result = Register();
            if (result < 0)
            {
                return result;
            }

            int first = i - count + 1;
            _used.AsSpan(first, count).Fill(true);
            return first;
        }

        return -Errno.ENOSPC;
    }

    /// <summary>Fills an entry of a reserved range; a null address empties it.</summary>
    /// <returns>
    /// 0 or more, or a negative errno: -ENOMEM beyond RLIMIT_MEMLOCK, -EOPNOTSUPP or -EFAULT for memory that cannot be pinned.
    /// </returns>
    internal int Set(int index, byte* address, nuint length)
    {
        var vector = new IoVec(address, length);
        ulong tag = 0;
        var update = new io_uring_rsrc_update2 { offset = (uint)index, data = (ulong)&vector, tags = (ulong)&tag, nr = 1 };
        return _ring.Register(IORING_REGISTER_BUFFERS_UPDATE, &update, (uint)sizeof(io_uring_rsrc_update2));
    }

    /// <summary>Gives a range back. Its entries must be empty again.</summary>
    public void Release(int first, int count) => _used.AsSpan(first, count).Clear();

    private int Register()
    {
        if (_registered)
        {
            return 0;
        }

        var register = new io_uring_rsrc_register { nr = Entries, flags = IORING_RSRC_REGISTER_SPARSE };
        int result = _ring.Register(IORING_REGISTER_BUFFERS2, &register, (uint)sizeof(io_uring_rsrc_register));
        _registered = result >= 0;
        return result;
    }
}
