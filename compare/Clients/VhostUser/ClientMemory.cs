// The memory that the client shares with the back-end: one sealed memfd with every queue's ring, request headers and buffers.
//
// Guest-physical addresses are made to differ from the client's own, so that a back-end that mixes the two up is found out.

using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Interop;
using Polyblk.Virtio.Memory;

namespace Polyblk.Compare.Clients.VhostUser;

/// <summary>Where the parts of a queue lie, as offsets into the memory.</summary>
/// <param name="Descriptors">The descriptor table or ring.</param>
/// <param name="Driver">The driver area.</param>
/// <param name="Device">The device area.</param>
/// <param name="Control">64 bytes for each slot: header, status, range.</param>
/// <param name="Tables">64 bytes for each slot: its indirect table.</param>
/// <param name="Buffers">The slots' buffers.</param>
internal readonly record struct QueueLayout(ulong Descriptors, ulong Driver, ulong Device, ulong Control, ulong Tables, ulong Buffers);

/// <summary>A memfd, mapped.</summary>
public sealed unsafe class ClientMemory : IDisposable
{
    /// <summary>Guest-physical address of the first byte.</summary>
    public const ulong GuestBase = 0x1_0000_0000;

    private readonly MappedRegion _mapping;

    /// <summary>Makes zeroed memory.</summary>
    /// <param name="sizeBytes">How much.</param>
    /// <param name="sealable">Whether the back-end may seal it, so that it cannot be made shorter any more.</param>
    /// <exception cref="IOException">There is not enough.</exception>
    public ClientMemory(ulong sizeBytes, bool sealable = true)
    {
        int fd = Libc.memfd_create("polyblk-client", Libc.MFD_CLOEXEC | (sealable ? Libc.MFD_ALLOW_SEALING : 0));
        if (fd < 0)
        {
            throw new IOException($"No memory can be made to share: errno {-fd}.");
        }

        File = new SafeFileHandle(fd, ownsHandle: true);
        int rc = Libc.ftruncate(fd, (long)sizeBytes);
        if (rc < 0)
        {
            File.Dispose();
            throw new IOException($"There are no {sizeBytes} bytes of memory to share: errno {-rc}.");
        }

        _mapping = MappedRegion.Map(File, 0, sizeBytes);
    }

    /// <summary>The memfd.</summary>
    public SafeFileHandle File { get; }

    /// <summary>First byte.</summary>
    public byte* Address => _mapping.Address;

    /// <summary>Length in bytes.</summary>
    public ulong SizeBytes => _mapping.SizeBytes;

    /// <inheritdoc/>
    public void Dispose()
    {
        _mapping.Dispose();
        File.Dispose();
    }
}
