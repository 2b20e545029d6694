using System.Diagnostics;
using Polyblk.Core.Interop;
using Polyblk.Virtio;
using Polyblk.Virtio.VhostUser;

namespace Polyblk.VhostUser.Tests;

/// <summary>A split ring of eight entries in shared memory, with one request slot: enough to see that a ring works.</summary>
internal sealed unsafe class RawRing : IDisposable
{
    public const int Size = 8;
    public const int RingBytes = 8192;
    private const int AvailOffset = 1024;
    private const int UsedOffset = 2048;
    private const int HeaderOffset = 4096;
    private const int StatusOffset = 4096 + 16;
    private const int DataOffset = 4096 + 512;

    private readonly SharedMemory _memory;
    private readonly ulong _offset;
    private ushort _avail;

    public RawRing(SharedMemory memory, ulong offset = 0)
    {
        _memory = memory;
        _offset = offset;
        KickFd = Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK);
        CallFd = Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK);
    }

    public int KickFd { get; }

    public int CallFd { get; }

    public ushort UsedIndex => Volatile.Read(ref *(ushort*)(At(UsedOffset) + 2));

    public vhost_vring_addr Address(uint index) => new()
    {
        index = index,
        desc_user_addr = (ulong)At(0),
        avail_user_addr = (ulong)At(AvailOffset),
        used_user_addr = (ulong)At(UsedOffset),
    };

    /// <summary>The status byte in the ring's own memory; 0xFF when it was not written.</summary>
    public byte Status => Volatile.Read(ref *At(StatusOffset));

    /// <summary>Whether everything made available is used.</summary>
    public bool IsAnswered => UsedIndex == _avail;

    /// <summary>Makes a read of one block available and kicks.</summary>
    /// <param name="sector">Which.</param>
    /// <param name="dataAddress">Guest address of the buffer; by default in the ring's own memory.</param>
    /// <param name="statusAddress">Guest address of the status; by default in the ring's own memory.</param>
    public void Read(ulong sector, ulong? dataAddress = null, ulong? statusAddress = null) =>
        Submit(0, sector, dataAddress, statusAddress);

    /// <summary>Makes a write of one block available and kicks.</summary>
    /// <param name="sector">Which.</param>
    /// <param name="dataAddress">Guest address of the buffer.</param>
    public void Write(ulong sector, ulong dataAddress) => Submit(1, sector, dataAddress, null);

    private void Submit(uint type, ulong sector, ulong? dataAddress, ulong? statusAddress)
    {
        *(uint*)At(HeaderOffset) = type;
        *(ulong*)(At(HeaderOffset) + 8) = sector;
        *At(StatusOffset) = 0xFF;
        var table = (virtq_desc*)At(0);
        table[0] = new virtq_desc { addr = Guest(HeaderOffset), len = 16, flags = RingLayout.VIRTQ_DESC_F_NEXT, next = 1 };
        table[1] = new virtq_desc
        {
            addr = dataAddress ?? Guest(DataOffset), len = 512, next = 2,
            flags = (ushort)(RingLayout.VIRTQ_DESC_F_NEXT | (type == 0 ? RingLayout.VIRTQ_DESC_F_WRITE : 0)),
        };
        table[2] = new virtq_desc { addr = statusAddress ?? Guest(StatusOffset), len = 1, flags = RingLayout.VIRTQ_DESC_F_WRITE };
        var avail = (ushort*)At(AvailOffset);
        avail[2 + (_avail % Size)] = 0;
        _avail++;
        Volatile.Write(ref avail[1], _avail);
        Interlocked.MemoryBarrier();
        Libc.SignalEventFd(KickFd);
    }

    /// <summary>Breaks the ring: the available index goes further than the ring is long.</summary>
    public void JumpAvailable()
    {
        Volatile.Write(ref ((ushort*)At(AvailOffset))[1], (ushort)(_avail + Size + 1));
        Interlocked.MemoryBarrier();
        Libc.SignalEventFd(KickFd);
    }

    /// <summary>Waits until everything made available is used; returns the status byte.</summary>
    public byte Wait()
    {
        var watch = Stopwatch.StartNew();
        while (UsedIndex != _avail)
        {
            Assert.True(watch.ElapsedMilliseconds < 20_000, "The ring was not served.");
            Thread.Sleep(1);
        }

        return *At(StatusOffset);
    }

    /// <summary>Starts anew, as a driver does that sets the device up again.</summary>
    public void Reset()
    {
        new Span<byte>(At(0), RingBytes).Clear();
        _avail = 0;
    }

    public byte FirstByte => *At(DataOffset);

    public void Dispose()
    {
        _ = Libc.close(KickFd);
        _ = Libc.close(CallFd);
    }

    private byte* At(int offset) => _memory.Address + _offset + offset;

    private ulong Guest(int offset) => _memory.GuestAddress + _offset + (ulong)offset;
}
