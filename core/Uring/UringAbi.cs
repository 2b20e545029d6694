// The io_uring ABI: structures and constants of <linux/io_uring.h>, under their C names. Those that Tmds.LibC has are taken
// from there; it knows Linux 5.7. Entries, offsets of the completion ring and so the parameters have fields since that it
// lacks.

global using io_uring_cqe = Tmds.Linux.io_uring_cqe;

using System.Runtime.InteropServices;
using Tmds.Linux;

namespace Polyblk.Core.Uring;

/// <summary>
/// Submission queue entry, 64 bytes (with SETUP_SQE128 the entry has 128, and the command area runs to its end).
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = 64)]
public unsafe struct io_uring_sqe
{
    [FieldOffset(0)] public byte opcode;
    [FieldOffset(1)] public byte flags;
    [FieldOffset(2)] public ushort ioprio;
    [FieldOffset(4)] public int fd;
    [FieldOffset(8)] public ulong off;
    [FieldOffset(8)] public uint cmd_op;
    [FieldOffset(16)] public ulong addr;
    [FieldOffset(24)] public uint len;
    [FieldOffset(28)] public uint rw_flags;
    [FieldOffset(28)] public uint fsync_flags;
    [FieldOffset(28)] public uint poll32_events;
    [FieldOffset(28)] public uint uring_cmd_flags;
    [FieldOffset(32)] public ulong user_data;
    [FieldOffset(40)] public ushort buf_index;
    [FieldOffset(42)] public ushort personality;
    [FieldOffset(44)] public int splice_fd_in;
    [FieldOffset(48)] public ulong addr3;

    /// <summary>URING_CMD payload: 16 bytes here, 80 bytes in a 128-byte entry.</summary>
    [FieldOffset(48)] public fixed byte cmd[16];
}

[StructLayout(LayoutKind.Sequential)]
public struct io_cqring_offsets
{
    public uint head, tail, ring_mask, ring_entries, overflow, cqes, flags, resv1;
    public ulong user_addr;
}

[StructLayout(LayoutKind.Sequential)]
public unsafe struct io_uring_params
{
    public uint sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd;
    public fixed uint resv[3];
    public io_sqring_offsets sq_off;
    public io_cqring_offsets cq_off;
}

/// <summary>Argument of IORING_REGISTER_BUFFERS2 and IORING_REGISTER_FILES2.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct io_uring_rsrc_register
{
    public uint nr, flags;
    public ulong resv2, data, tags;
}

/// <summary>Argument of IORING_REGISTER_BUFFERS_UPDATE.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct io_uring_rsrc_update2
{
    public uint offset, resv;
    public ulong data, tags;
    public uint nr, resv2;
}

/// <summary>Constants of the ABI.</summary>
public static class UringAbi
{
    public static uint IORING_SETUP_IOPOLL => LibC.IORING_SETUP_IOPOLL;
    public static uint IORING_SETUP_SQPOLL => LibC.IORING_SETUP_SQPOLL;
    public static uint IORING_SETUP_CQSIZE => LibC.IORING_SETUP_CQSIZE;
    public static uint IORING_SETUP_CLAMP => LibC.IORING_SETUP_CLAMP;
    public const uint IORING_SETUP_R_DISABLED = 1u << 6;
    public const uint IORING_SETUP_SUBMIT_ALL = 1u << 7;
    public const uint IORING_SETUP_COOP_TASKRUN = 1u << 8;
    public const uint IORING_SETUP_TASKRUN_FLAG = 1u << 9;
    public const uint IORING_SETUP_SQE128 = 1u << 10;
    public const uint IORING_SETUP_SINGLE_ISSUER = 1u << 12;
    public const uint IORING_SETUP_DEFER_TASKRUN = 1u << 13;

    public static uint IORING_FEAT_SINGLE_MMAP => LibC.IORING_FEAT_SINGLE_MMAP;
    public static uint IORING_FEAT_NODROP => LibC.IORING_FEAT_NODROP;

    public static uint IORING_SQ_NEED_WAKEUP => LibC.IORING_SQ_NEED_WAKEUP;
    public const uint IORING_SQ_CQ_OVERFLOW = 1u << 1;
    public const uint IORING_SQ_TASKRUN = 1u << 2;

    public const uint IORING_CQ_EVENTFD_DISABLED = 1u << 0;

    public static uint IORING_ENTER_GETEVENTS => LibC.IORING_ENTER_GETEVENTS;
    public static uint IORING_ENTER_SQ_WAKEUP => LibC.IORING_ENTER_SQ_WAKEUP;

    public static long IORING_OFF_SQ_RING => (long)LibC.IORING_OFF_SQ_RING;
    public static long IORING_OFF_CQ_RING => (long)LibC.IORING_OFF_CQ_RING;
    public static long IORING_OFF_SQES => (long)LibC.IORING_OFF_SQES;

    public static byte IORING_OP_NOP => LibC.IORING_OP_NOP;
    public static byte IORING_OP_READV => LibC.IORING_OP_READV;
    public static byte IORING_OP_WRITEV => LibC.IORING_OP_WRITEV;
    public static byte IORING_OP_FSYNC => LibC.IORING_OP_FSYNC;
    public static byte IORING_OP_READ_FIXED => LibC.IORING_OP_READ_FIXED;
    public static byte IORING_OP_WRITE_FIXED => LibC.IORING_OP_WRITE_FIXED;
    public static byte IORING_OP_POLL_ADD => LibC.IORING_OP_POLL_ADD;
    public static byte IORING_OP_TIMEOUT => LibC.IORING_OP_TIMEOUT;
    public static byte IORING_OP_ASYNC_CANCEL => LibC.IORING_OP_ASYNC_CANCEL;
    public static byte IORING_OP_FALLOCATE => LibC.IORING_OP_FALLOCATE;
    public static byte IORING_OP_READ => LibC.IORING_OP_READ;
    public static byte IORING_OP_WRITE => LibC.IORING_OP_WRITE;
    public const byte IORING_OP_URING_CMD = 46;

    public static byte IOSQE_FIXED_FILE => LibC.IOSQE_FIXED_FILE;
    public static byte IOSQE_IO_DRAIN => LibC.IOSQE_IO_DRAIN;
    public static byte IOSQE_IO_LINK => LibC.IOSQE_IO_LINK;
    public static byte IOSQE_ASYNC => LibC.IOSQE_ASYNC;

    public static uint IORING_FSYNC_DATASYNC => LibC.IORING_FSYNC_DATASYNC;
    public const uint IORING_URING_CMD_FIXED = 1;

    public static uint IORING_REGISTER_BUFFERS => LibC.IORING_REGISTER_BUFFERS;
    public static uint IORING_UNREGISTER_BUFFERS => LibC.IORING_UNREGISTER_BUFFERS;
    public static uint IORING_REGISTER_FILES => LibC.IORING_REGISTER_FILES;
    public static uint IORING_UNREGISTER_FILES => LibC.IORING_UNREGISTER_FILES;
    public static uint IORING_REGISTER_EVENTFD => LibC.IORING_REGISTER_EVENTFD;
    public static uint IORING_REGISTER_FILES_UPDATE => LibC.IORING_REGISTER_FILES_UPDATE;
    public static uint IORING_REGISTER_PROBE => LibC.IORING_REGISTER_PROBE;
    public const uint IORING_REGISTER_FILES2 = 13;
    public const uint IORING_REGISTER_BUFFERS2 = 15;
    public const uint IORING_RSRC_REGISTER_SPARSE = 1;
    public const uint IORING_REGISTER_BUFFERS_UPDATE = 16;
    public const uint IORING_REGISTER_IOWQ_AFF = 17;
    public const uint IORING_REGISTER_IOWQ_MAX_WORKERS = 19;

    public const uint RWF_HIPRI = 1;
    public const uint RWF_DSYNC = 2;
    public const uint RWF_NOWAIT = 8;
}
