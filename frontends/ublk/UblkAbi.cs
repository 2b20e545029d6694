// The ublk ABI: structures and constants of <linux/ublk_cmd.h> (Linux 7.3), under their C names.
//
// Sizes are asserted when the type is first used. The structures only ever grew at their ends, so an older kernel takes a prefix
// of them: ublk_params carries its own length, and the kernel cuts it to what it knows.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Polyblk.Frontends.Ublk;

/// <summary>Payload of a control command, in the command area of a 128-byte submission entry.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ublksrv_ctrl_cmd
{
    public uint dev_id;
    public ushort queue_id;
    public ushort len;
    public ulong addr;
    public ulong data;
    public ushort dev_path_len;
    public ushort pad;
    public uint reserved;
}

[StructLayout(LayoutKind.Sequential)]
internal struct ublksrv_ctrl_dev_info
{
    public ushort nr_hw_queues;
    public ushort queue_depth;
    public ushort state;
    public ushort io_desc_size;
    public uint max_io_buf_bytes;
    public uint dev_id;
    public int ublksrv_pid;
    public uint pad1;
    public ulong flags;

    /// <summary>For the server alone: the driver stores it and gives it back.</summary>
    public ulong ublksrv_flags;
    public uint owner_uid;
    public uint owner_gid;
    public ulong reserved1;
    public ulong reserved2;
}

/// <summary>
/// A request, in the area that the driver shares with the server: the operation in bits 0 to 7, flags in bits 8 to 31.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ublksrv_io_desc
{
    public uint op_flags;
    public uint nr_sectors;
    public ulong start_sector;
    public ulong addr;
}

/// <summary>Payload of a fetch or commit: fits in a 64-byte submission entry.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ublksrv_io_cmd
{
    public ushort q_id;
    public ushort tag;
    public int result;
    public ulong addr;
}

[StructLayout(LayoutKind.Sequential)]
internal struct ublk_param_basic
{
    public uint attrs;
    public byte logical_bs_shift;
    public byte physical_bs_shift;
    public byte io_opt_shift;
    public byte io_min_shift;
    public uint max_sectors;
    public uint chunk_sectors;
    public ulong dev_sectors;
    public ulong virt_boundary_mask;
}

[StructLayout(LayoutKind.Sequential)]
internal struct ublk_param_discard
{
    public uint discard_alignment;
    public uint discard_granularity;
    public uint max_discard_sectors;
    public uint max_write_zeroes_sectors;
    public ushort max_discard_segments;
    public ushort reserved0;
}

[StructLayout(LayoutKind.Sequential)]
internal struct ublk_param_devt
{
    public uint char_major, char_minor, disk_major, disk_minor;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct ublk_param_zoned
{
    public uint max_open_zones, max_active_zones, max_zone_append_sectors;
    public fixed byte reserved[20];
}

[StructLayout(LayoutKind.Sequential)]
internal struct ublk_param_dma_align
{
    public uint alignment;
    public uint pad;
}

[StructLayout(LayoutKind.Sequential)]
internal struct ublk_param_segment
{
    public ulong seg_boundary_mask;
    public uint max_segment_size;
    public ushort max_segments;
    public ushort pad;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct ublk_param_integrity
{
    public uint flags;
    public ushort max_integrity_segments;
    public byte interval_exp, metadata_size, pi_offset, csum_type, tag_size;
    public fixed byte pad[5];
}

[StructLayout(LayoutKind.Sequential)]
internal struct ublk_params
{
    public uint len;
    public uint types;
    public ublk_param_basic basic;
    public ublk_param_discard discard;
    public ublk_param_devt devt;
    public ublk_param_zoned zoned;
    public ublk_param_dma_align dma;
    public ublk_param_segment seg;
    public ublk_param_integrity integrity;
}

/// <summary>Constants of the ABI.</summary>
internal static class UblkAbi
{
    public const uint UBLK_U_CMD_GET_DEV_INFO = 0x80207502;
    public const uint UBLK_U_CMD_ADD_DEV = 0xc0207504;
    public const uint UBLK_U_CMD_DEL_DEV = 0xc0207505;
    public const uint UBLK_U_CMD_START_DEV = 0xc0207506;
    public const uint UBLK_U_CMD_STOP_DEV = 0xc0207507;
    public const uint UBLK_U_CMD_SET_PARAMS = 0xc0207508;
    public const uint UBLK_U_CMD_GET_PARAMS = 0x80207509;
    public const uint UBLK_U_CMD_START_USER_RECOVERY = 0xc0207510;
    public const uint UBLK_U_CMD_END_USER_RECOVERY = 0xc0207511;
    public const uint UBLK_U_CMD_GET_FEATURES = 0x80207513;
    public const uint UBLK_U_CMD_DEL_DEV_ASYNC = 0x80207514;
    public const uint UBLK_U_CMD_UPDATE_SIZE = 0xc0207515;
    public const uint UBLK_U_CMD_QUIESCE_DEV = 0xc0207516;
    public const uint UBLK_U_CMD_TRY_STOP_DEV = 0xc0207517;

    public const uint UBLK_U_IO_FETCH_REQ = 0xc0107520;
    public const uint UBLK_U_IO_COMMIT_AND_FETCH_REQ = 0xc0107521;

    public const int UBLK_IO_RES_OK = 0;

    /// <summary>-ENODEV: the driver took the command back; it is not to be fetched again.</summary>
    public const int UBLK_IO_RES_ABORT = -19;

    public const int UBLK_MAX_QUEUE_DEPTH = 4096;
    public const int UBLK_FEATURES_LEN = 8;
    public const ushort NoQueue = ushort.MaxValue;
    public const uint AnyDevice = uint.MaxValue;

    /// <summary>Where the data of requests is read and written with UBLK_F_USER_COPY.</summary>
    public const long UBLKSRV_IO_BUF_OFFSET = 0x80000000;
    public const int UBLK_IO_BUF_BITS = 25;
    public const int UBLK_TAG_OFF = UBLK_IO_BUF_BITS;
    public const int UBLK_QID_OFF = UBLK_TAG_OFF + 16;

    /// <summary>Largest request that the encoding allows, in bytes: 32 MiB.</summary>
    public const int MaxIoBytes = 1 << UBLK_IO_BUF_BITS;

    public const ushort UBLK_S_DEV_DEAD = 0;
    public const ushort UBLK_S_DEV_LIVE = 1;
    public const ushort UBLK_S_DEV_QUIESCED = 2;
    public const ushort UBLK_S_DEV_FAIL_IO = 3;

    public const byte UBLK_IO_OP_READ = 0;
    public const byte UBLK_IO_OP_WRITE = 1;
    public const byte UBLK_IO_OP_FLUSH = 2;
    public const byte UBLK_IO_OP_DISCARD = 3;
    public const byte UBLK_IO_OP_WRITE_ZEROES = 5;

    public const uint UBLK_IO_F_FUA = 1u << 13;
    public const uint UBLK_IO_F_NOUNMAP = 1u << 15;

    public const uint UBLK_ATTR_READ_ONLY = 1 << 0;
    public const uint UBLK_ATTR_VOLATILE_CACHE = 1 << 2;
    public const uint UBLK_ATTR_FUA = 1 << 3;

    public const uint UBLK_PARAM_TYPE_BASIC = 1 << 0;
    public const uint UBLK_PARAM_TYPE_DISCARD = 1 << 1;
    public const uint UBLK_PARAM_TYPE_DMA_ALIGN = 1 << 4;
    public const uint UBLK_PARAM_TYPE_SEGMENT = 1 << 5;

    /// <summary>Bytes between the descriptor areas of two queues: that of the deepest queue, whatever the depth.</summary>
    public static readonly long DescriptorStrideBytes = RoundUpToPage((long)UBLK_MAX_QUEUE_DEPTH * Unsafe.SizeOf<ublksrv_io_desc>());

    static unsafe UblkAbi()
    {
        Check(sizeof(ublksrv_ctrl_cmd), 32);
        Check(sizeof(ublksrv_ctrl_dev_info), 64);
        Check(sizeof(ublksrv_io_desc), 24);
        Check(sizeof(ublksrv_io_cmd), 16);
        Check(sizeof(ublk_param_basic), 32);
        Check(sizeof(ublk_param_discard), 20);
        Check(sizeof(ublk_param_segment), 16);
        Check(sizeof(ublk_params), 152);

        static void Check(int size, int expected, [CallerArgumentExpression(nameof(size))] string what = "")
        {
            if (size != expected)
            {
                throw new InvalidOperationException($"{what} is {size}, the kernel has {expected}.");
            }
        }
    }

    /// <summary>Rounds up to whole pages of this machine.</summary>
    public static long RoundUpToPage(long bytes) => (bytes + Environment.SystemPageSize - 1) / Environment.SystemPageSize * Environment.SystemPageSize;

    /// <summary>Position in /dev/ublkcN of a request's data (UBLK_F_USER_COPY).</summary>
    public static long UserCopyOffset(int queue, int tag) =>
        UBLKSRV_IO_BUF_OFFSET + ((long)queue << UBLK_QID_OFF) + ((long)tag << UBLK_TAG_OFF);
}
