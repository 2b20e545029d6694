using System.Buffers.Binary;
using Polyblk.Core.Block;
using static Polyblk.Frontends.Nbd.NbdProtocol;

namespace Polyblk.Frontends.Nbd;

/// <summary>
/// One request of a client, from its header to the last byte of its reply. Made with the connection and used again.
/// </summary>
internal sealed unsafe class NbdSlot(byte* header, int index)
{
    /// <summary>Bytes that the header of a reply may need: a chunk header and the longest fixed payload.</summary>
    public const int HeaderCapacity = 64;

    /// <summary>Which of the connection's slots it is.</summary>
    public readonly int Index = index;

    public readonly byte* Header = header;

    public NbdCommand Command;
    public NbdCommandFlags Flags;
    public ulong Cookie;
    public long OffsetBytes;

    /// <summary>When the turn began that took it, for the statistics.</summary>
    public long TakenNs;

    public long LengthBytes;

    /// <summary>First block of the memory for its data: data to write, or room for data to read.</summary>
    public int FirstBlock;

    /// <summary>Blocks in use.</summary>
    public int BlockCount;

    /// <summary>How far the data was received, handed to the device, or queued for sending: one after the other.</summary>
    public BlockCursor Data;

    /// <summary>Bytes of the range that were handed to the device.</summary>
    public long Submitted;

    /// <summary>Parts of it that the device still holds.</summary>
    public int Pending;

    /// <summary>The first error of a part: 0 or a negative errno.</summary>
    public int Status;

    /// <summary>A flush must follow the parts (FUA on trim and write-zeroes, which devices do not take).</summary>
    public bool FlushAfter;

    /// <summary>Nobody waits for it any more: what the device does not have yet is left undone, and there is no reply.</summary>
    public bool Cancelled;

    /// <summary>Position in the output stream behind the reply's last byte.</summary>
    public long EndPosition;

    /// <summary>Link of the list that holds the slot.</summary>
    public NbdSlot? Next;

    /// <summary>Whether data goes with it, in either direction.</summary>
    public bool HasData => Command is NbdCommand.Read or NbdCommand.Write;

    /// <summary>Takes over a request as it came.</summary>
    public void Begin(ReadOnlySpan<byte> request)
    {
        Flags = (NbdCommandFlags)BinaryPrimitives.ReadUInt16BigEndian(request[4..]);
        Command = (NbdCommand)BinaryPrimitives.ReadUInt16BigEndian(request[6..]);
        Cookie = BinaryPrimitives.ReadUInt64BigEndian(request[8..]);
        OffsetBytes = BinaryPrimitives.ReadInt64BigEndian(request[16..]);
        LengthBytes = BinaryPrimitives.ReadUInt32BigEndian(request[24..]);
        FirstBlock = BlockArena.None;
        BlockCount = 0;
        Submitted = 0;
        Pending = 0;
        Status = 0;
        FlushAfter = false;
        Cancelled = false;
        Next = null;
    }

    /// <summary>Builds the reply's header and returns its length; the data of a read that succeeded follows it.</summary>
    public int BuildReply(bool structured)
    {
        uint error = (uint)ToNbd(-Status);
        bool ok = error == 0;
        var bytes = new Span<byte>(Header, HeaderCapacity);
        if (!structured || Command is not (NbdCommand.Read or NbdCommand.BlockStatus))
        {
            BinaryPrimitives.WriteUInt32BigEndian(bytes, SimpleReplyMagic);
            BinaryPrimitives.WriteUInt32BigEndian(bytes[4..], error);
            BinaryPrimitives.WriteUInt64BigEndian(bytes[8..], Cookie);
            return SimpleReplyBytes;
        }

        if (!ok)
        {
            WriteChunk(bytes, NbdChunk.Error, 6);
            BinaryPrimitives.WriteUInt32BigEndian(bytes[ChunkHeaderBytes..], error);
            BinaryPrimitives.WriteUInt16BigEndian(bytes[(ChunkHeaderBytes + 4)..], 0);
            return ChunkHeaderBytes + 6;
        }

        if (Command == NbdCommand.Read)
        {
            WriteChunk(bytes, NbdChunk.OffsetData, (uint)LengthBytes + 8);
            BinaryPrimitives.WriteInt64BigEndian(bytes[ChunkHeaderBytes..], OffsetBytes);
            return ChunkHeaderBytes + 8;
        }

        // Block status: what the array does not track is allocated data, which is always a true answer ("base:allocation").
        WriteChunk(bytes, NbdChunk.BlockStatus, 12);
        BinaryPrimitives.WriteUInt32BigEndian(bytes[ChunkHeaderBytes..], AllocationContextId);
        BinaryPrimitives.WriteUInt32BigEndian(bytes[(ChunkHeaderBytes + 4)..], (uint)LengthBytes);
        BinaryPrimitives.WriteUInt32BigEndian(bytes[(ChunkHeaderBytes + 8)..], 0);
        return ChunkHeaderBytes + 12;
    }

    private void WriteChunk(Span<byte> bytes, NbdChunk type, uint length)
    {
        BinaryPrimitives.WriteUInt32BigEndian(bytes, StructuredReplyMagic);
        BinaryPrimitives.WriteUInt16BigEndian(bytes[4..], 1); // NBD_REPLY_FLAG_DONE: each reply is one chunk
        BinaryPrimitives.WriteUInt16BigEndian(bytes[6..], (ushort)type);
        BinaryPrimitives.WriteUInt64BigEndian(bytes[8..], Cookie);
        BinaryPrimitives.WriteUInt32BigEndian(bytes[16..], length);
    }

    // ENOTSUP and EOVERFLOW answer only what is not offered here (fast zeroes, DF beyond the limit), so a device's own become
    // EIO.
    private static NbdError ToNbd(int errno) => errno switch
    {
        0 => NbdError.None,
        Errno.EPERM or Errno.EROFS or Errno.EACCES => NbdError.EPERM,
        Errno.ENOMEM => NbdError.ENOMEM,
        Errno.EINVAL => NbdError.EINVAL,
        Errno.ENOSPC or Errno.EFBIG or Errno.EDQUOT => NbdError.ENOSPC,
        _ => NbdError.EIO,
    };
}
