// What must outlive the process: the device's status, and each queue's inflight log, in one mapped file.
//
// The kernel keeps a device when its daemon dies, but it does not tell a new daemon whether the driver was running, nor which requests were
// in flight. A mapped file keeps both: what a killed process stored in it stays in the page cache. It means nothing after a reboot, when the
// device is gone: whoever creates a device clears it.

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Memory;
using Polyblk.Core.Virtio;

namespace Polyblk.Frontends.Vduse;

/// <summary>The state file of one device.</summary>
internal sealed unsafe class VduseStateFile : IDisposable
{
    private const ulong Magic = 0x3165_7375_6476_6270; // "pbvduse1"
    private const int HeaderBytes = 4096;

    private readonly SafeFileHandle _file;
    private readonly MappedRegion _mapping;
    private readonly Header* _header;
    private readonly long _regionBytes;

    private VduseStateFile(SafeFileHandle file, MappedRegion mapping, long regionBytes)
    {
        _file = file;
        _mapping = mapping;
        _header = (Header*)mapping.Address;
        _regionBytes = regionBytes;
    }

    /// <summary>The driver's status as it was last set.</summary>
    public byte Status
    {
        get => (byte)Volatile.Read(ref _header->Status);
        set => Volatile.Write(ref _header->Status, value);
    }

    /// <summary>Opens or makes the file for a device of this shape.</summary>
    /// <param name="path">The file.</param>
    /// <param name="queues">Number of queues.</param>
    /// <param name="queueSize">Largest size of a queue.</param>
    /// <param name="features">The features that the device offers.</param>
    /// <param name="isKnown">Whether it is the file of a device of exactly this shape; otherwise it was cleared.</param>
    /// <exception cref="IOException">The file cannot be used.</exception>
    public static VduseStateFile Open(string path, int queues, int queueSize, ulong features, out bool isKnown)
    {
        long region = Math.Max(InflightLog.RegionBytes(queueSize, false), InflightLog.RegionBytes(queueSize, true));
        long size = HeaderBytes + (region * queues);
        SafeFileHandle file = File.OpenHandle(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        try
        {
            isKnown = RandomAccess.GetLength(file) == size;
            RandomAccess.SetLength(file, size);
            var state = new VduseStateFile(file, MappedRegion.Map(file, 0, (ulong)size), region);
            isKnown &= state._header->Magic == Magic && state._header->Queues == queues && state._header->QueueSize == queueSize
                && state._header->Features == features;
            if (!isKnown)
            {
                state.Clear();
                *state._header = new Header { Magic = Magic, Queues = queues, QueueSize = queueSize, Features = features };
            }

            return state;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Forgets requests in flight and the status: the device was created or reset.</summary>
    public void Reset()
    {
        new Span<byte>(_mapping.Address + HeaderBytes, (int)(_mapping.SizeBytes - HeaderBytes)).Clear();
        Status = 0;
    }

    /// <summary>The inflight log of a queue. The caller disposes it.</summary>
    public InflightLog OpenLog(int queue, int size, bool packed) => new(_mapping, HeaderBytes + (queue * _regionBytes), size, packed);

    public void Dispose()
    {
        _mapping.Dispose();
        _file.Dispose();
    }

    private void Clear() => NativeMemory.Clear(_mapping.Address, (nuint)_mapping.SizeBytes);

    [StructLayout(LayoutKind.Sequential)]
    private struct Header
    {
        public ulong Magic;
        public ulong Features;
        public int Queues;
        public int QueueSize;
        public int Status;
    }
}
