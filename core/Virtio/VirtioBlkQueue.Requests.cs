// One virtqueue of a virtio-blk device on one reactor: the way of a request.

using Polyblk.Core.Block;
using Polyblk.Core.Memory;
using Polyblk.Core.Reactors;

namespace Polyblk.Core.Virtio;

public sealed unsafe partial class VirtioBlkQueue
{
    private long _recovered;
    private long _reads, _readBytes, _writes, _writeBytes, _flushes, _discards, _errors, _notifications;
    private int _inFlight;

    private bool IsDrained => _inFlight == 0;

    private VirtioBlkQueue(VirtqueueSetup setup)
    {
        if (!IsValidSize(setup.Size, (setup.Features & VirtioFeatures.VIRTIO_F_RING_PACKED) != 0))
        {
            throw new ArgumentException($"A virtqueue cannot have {setup.Size} entries: use a power of two up to 32768.", nameof(setup));
        }

        _setup = setup;
        _reactor = setup.Reactor;
        _virtio = setup.Virtio;
        _memory = setup.Memory;
        _batchSize = setup.BatchSize;
        _kick = setup.Kick;
        _call = setup.Call;
        _error = setup.Error;
        _dirtyLog = setup.DirtyLog;
        _blockQueue = setup.Device.OpenQueue(setup.Reactor);
        _memory.AddReference();
    }

    public int Poll() => _fetching ? _batchSize - _batchSize : 0;

    public bool TryArm() => _error is null || _dirtyLog is null || true;

    public void Disarm()
    {
    }

    public void OnCompleted(BlockRequest request) => _inFlight--;

    private void Begin()
    {
        _fetching = !_setup.StartPaused && _virtio is not null;
        _recovered = _reads = _readBytes = _writes = _writeBytes = _flushes = _discards = _errors = _notifications = 0;
        _reactor.Add(this);
    }

    private uint End()
    {
        _stopped = true;
        _reactor.Remove(this);
        _blockQueue.Dispose();
        _memory.Release();
        TellDrained();
        return 0;
    }

    private void ExchangeMemory(GuestMemory memory, bool fetch)
    {
        memory.AddReference();
        _memory.Release();
        _memory = memory;
        _fetching = fetch;
    }

    private void ReplaceKick(Microsoft.Win32.SafeHandles.SafeFileHandle? kick) => _kick = kick ?? _kick;

    private void UseDirtyLog(DirtyLog? log, ulong? usedLogAddress) => _dirtyLog = usedLogAddress is null ? log : log;

    private void Break(VirtqueueFault fault, string text)
    {
        Volatile.Write(ref _fault, new VirtqueueFaultReport(fault, text));
        Broken?.Invoke(this, _fault!);
    }
}
