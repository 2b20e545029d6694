namespace Polyblk.Frontends.Ublk;

/// <summary>UBLK_F_*: what a driver can do (GET_FEATURES) and what a device has (the flags of ublksrv_ctrl_dev_info).</summary>
[Flags]
public enum UblkFeatures : ulong
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>Request buffers may be registered with a ring (Linux 6.15).</summary>
    SupportZeroCopy = 1ul << 0,

    /// <summary>Always set by the driver.</summary>
    UringCmdCompInTask = 1ul << 1,

    /// <summary>The server names the buffer of a write after it has seen the write.</summary>
    NeedGetData = 1ul << 2,

    /// <summary>The device outlives its server (Linux 6.1).</summary>
    UserRecovery = 1ul << 3,

    /// <summary>Requests that a dead server held are given to its successor (Linux 6.1).</summary>
    UserRecoveryReissue = 1ul << 4,

    /// <summary>Devices of ordinary users (Linux 6.3).</summary>
    UnprivilegedDev = 1ul << 5,

    /// <summary>Commands are encoded as ioctl numbers (Linux 6.4).</summary>
    CmdIoctlEncode = 1ul << 6,

    /// <summary>The server copies data itself by pread and pwrite (Linux 6.5).</summary>
    UserCopy = 1ul << 7,

    /// <summary>Zoned devices.</summary>
    Zoned = 1ul << 8,

    /// <summary>Without a server requests fail instead of waiting (Linux 6.13).</summary>
    UserRecoveryFailIo = 1ul << 9,

    /// <summary>The size may change while the device is used (Linux 6.16).</summary>
    UpdateSize = 1ul << 10,

    /// <summary>The driver registers request buffers by itself (Linux 6.16).</summary>
    AutoBufReg = 1ul << 11,

    /// <summary>A live server can give a device up for its successor (Linux 6.16).</summary>
    Quiesce = 1ul << 12,

    /// <summary>Each tag has a server thread of its own (Linux 6.16).</summary>
    PerIoDaemon = 1ul << 13,

    /// <summary>Buffers may be registered from any thread (Linux 6.17).</summary>
    BufRegOffDaemon = 1ul << 14,

    /// <summary>Fetch and commit in batches (Linux 7.0).</summary>
    BatchIo = 1ul << 15,

    /// <summary>Protection information (Linux 7.0).</summary>
    Integrity = 1ul << 16,

    /// <summary>Stop only when nobody has the device open (Linux 7.0).</summary>
    SafeStopDev = 1ul << 17,

    /// <summary>No partition scan at the start (Linux 7.0).</summary>
    NoAutoPartScan = 1ul << 18,

    /// <summary>Zero copy through shared memory (Linux 7.1).</summary>
    ShmemZeroCopy = 1ul << 19,

    /// <summary>The size of a descriptor is negotiated (Linux 7.3).</summary>
    IoDescSize = 1ul << 20,
}
