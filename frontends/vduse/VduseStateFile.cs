// What must outlive the process: the device's status, and each queue's inflight log, in one mapped file.
//
// The kernel keeps a device when its daemon dies, but it does not tell a new daemon whether the driver was running, nor which
// requests were in flight. A mapped file keeps both: what a killed process stored in it stays in the page cache. It means nothing
// after a reboot, when the device is gone: whoever creates a device renews it.
//
// A file of another shape, or of another volume, is left as it is until then: the process that was given the wrong options is
// refused the attached device, and the right one must still find what was in flight.

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Polyblk.Virtio;
using Polyblk.Virtio.Memory;

namespace Polyblk.Frontends.Vduse;

/// <summary>What has to be the same for a device to be taken over.</summary>
/// <param name="Queues">Number of queues.</param>
/// <param name="QueueSize">Largest size of a queue.</param>
/// <param name="Features">The features that the device offers.</param>
/// <param name="Volume">The volume's UUID.</param>
internal readonly record struct VduseShape(int Queues, int QueueSize, ulong Features, Guid Volume);

/// <summary>The state file of one device.</summary>
internal sealed unsafe class VduseStateFile : IDisposable
{
    private const ulong Magic = 0x3265_7375_6476_6270; // "pbvduse2"
    private const int HeaderBytes = 4096;

    private readonly SafeFileHandle _file;
    private readonly VduseShape _shape;
    private readonly long _regionBytes;
    private MappedRegion? _mapping;

    private VduseStateFile(SafeFileHandle file, VduseShape shape)
    {
        _file = file;
        _shape = shape;
        _regionBytes = Math.Max(InflightLog.RegionBytes(shape.QueueSize, false), InflightLog.RegionBytes(shape.QueueSize, true));
    }

    /// <summary>The driver's status as it was last set.</summary>
    public byte Status
    {
        get => (byte)Volatile.Read(ref Content->Status);
        set => Volatile.Write(ref Content->Status, value);
    }

    private long SizeBytes => HeaderBytes + (_regionBytes * _shape.Queues);

    private MappedRegion Mapping => _mapping ?? throw new InvalidOperationException("The state file is of another device: it has to be renewed first.");

    private Header* Content => (Header*)Mapping.Address;

    /// <summary>Opens or makes the file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="shape">The device's shape.</param>
    /// <param name="isKnown">Whether it is the file of such a device. If not, it is unchanged, and must be renewed before
    /// anything else.</param>
    /// <exception cref="IOException">The file cannot be used.</exception>
    public static VduseStateFile Open(string path, VduseShape shape, out bool isKnown)
    {
        SafeFileHandle file = File.OpenHandle(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        var state = new VduseStateFile(file, shape);
        try
        {
            var header = default(Header);
            int read = RandomAccess.Read(file, MemoryMarshal.AsBytes(new Span<Header>(ref header)), 0);
            isKnown = read == sizeof(Header) && RandomAccess.GetLength(file) == state.SizeBytes && header.Magic == Magic && header.Shape == shape;
            if (isKnown)
            {
                state.Map();
            }

            return state;
        }
        catch
        {
            state.Dispose();
            throw;
        }
    }

    /// <summary>Starts afresh: the device was created.</summary>
    /// <exception cref="IOException">The file cannot be made that long, or not be mapped.</exception>
    public void Renew()
    {
        _mapping?.Dispose();
        _mapping = null;
        RandomAccess.SetLength(_file, 0);
        RandomAccess.SetLength(_file, SizeBytes);
        Map();
        *Content = new Header { Shape = _shape, Magic = Magic };
    }

    /// <summary>Forgets requests in flight and the status: the driver reset the device.</summary>
    public void Reset()
    {
        new Span<byte>(Mapping.Address + HeaderBytes, (int)(Mapping.SizeBytes - HeaderBytes)).Clear();
        Status = 0;
    }

    /// <summary>The inflight log of a queue. The caller disposes it.</summary>
    public InflightLog OpenLog(int queue, int size, bool packed) => new(Mapping, HeaderBytes + (queue * _regionBytes), size, packed);

    public void Dispose()
    {
        _mapping?.Dispose();
        _file.Dispose();
    }

    private void Map() => _mapping = MappedRegion.Map(_file, 0, (ulong)SizeBytes);

    [StructLayout(LayoutKind.Sequential)]
    private struct Header
    {
        public ulong Magic;
        public VduseShape Shape;
        public int Status;
    }
}
