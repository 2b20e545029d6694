// A program of bytes that drives one queue: some of its steps are a driver's, honest or not, others are what the device's
// surroundings do.
//
// Header: what ring (packed, log, features), its size, the batch size, the drive's kind. Then steps, each an operation and its
// arguments; the driver's are in RingProgram.Driver.cs. A step may be kept for the next request that reaches the drive
// (OpMeanwhile): so memory changes in the middle of a turn.
//
// At the end the queue must come to rest: with everything completed, nothing is in flight and a pause ends.

using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;
using Polyblk.Fakes.Virtio;
using Polyblk.Fuzz.Guest;
using Polyblk.Virtio;
using Polyblk.Virtio.Memory;
using static Polyblk.Fuzz.FuzzFailureException;
using static Polyblk.Virtio.VirtioFeatures;

namespace Polyblk.Fuzz.Targets;

/// <summary>One run of such a program.</summary>
internal sealed unsafe partial class RingProgram : IDisposable
{
    public const byte OpRequest = 0;
    public const byte OpChain = 4;
    public const byte OpPoll = 6;
    public const byte OpComplete = 9;
    public const byte OpCompleteAll = 11;
    public const byte OpInline = 12;
    public const byte OpMeanwhile = 13;
    public const byte OpArm = 15;
    public const byte OpPause = 16;
    public const byte OpResume = 17;
    public const byte OpRestart = 18;
    public const byte OpKill = 19;
    public const byte OpMemory = 20;
    public const byte OpDirtyLog = 21;
    public const byte OpConfig = 22;
    public const byte OpStatus = 23;
    public const byte OpPoke = 24;
    public const byte OpPokeIndex = 26;
    public const byte OpPokeEvent = 27;
    public const byte OpWrite = 28;
    public const byte OpPublish = 30;
    private const int Operations = 32;

    private const int DriveBytes = 64 << 10;
    private const int TurnsToRest = 2000;
    private const int TurnsToEnd = 2_000_000;

    private readonly FuzzBytes _bytes;
    private readonly Reactor _reactor;
    private readonly GuardedSpace _space = new();
    private readonly RingWriter _ring;
    private readonly HeldDrive _drive;
    private readonly SafeFileHandle _kick = new(Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK), ownsHandle: true);
    private readonly MappedRegion? _logMemory;
    private readonly InflightLog? _log;
    private readonly VirtqueueSetup _setup;
    private readonly Queue<byte[]> _meanwhile = new();
    private readonly List<Task> _tasks = [];
    private readonly bool _publishesAtOnce;
    private readonly bool _spoilsLog;
    private MappedRegion? _dirtyMemory;
    private DirtyLog? _dirtyLog;
    private VirtioBlkQueue? _queue;
    private int _storesToKill;
    private bool _lost;
    private bool _hasUnpublished;
    private Exception? _fault;

    /// <param name="bytes">The program.</param>
    /// <param name="spoilsLog">Whether there is always an inflight log, and OpMemory writes into it.</param>
    public RingProgram(FuzzBytes bytes, bool spoilsLog = false)
    {
        _bytes = bytes;
        _spoilsLog = spoilsLog;
        byte kind = (byte)(bytes.Byte() | (spoilsLog ? 2 : 0));
        byte sizes = bytes.Byte();
        byte batch = bytes.Byte();
        byte drive = bytes.Byte();
        bool packed = (kind & 1) != 0;
        bool eventIdx = (kind & 4) != 0;
        _publishesAtOnce = (drive & 0x40) == 0;
        int size = packed ? 1 + (sizes % 33) : 1 << (sizes % 6);
        ulong features = VIRTIO_F_VERSION_1 | VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_CONFIG_WCE | (packed ? VIRTIO_F_RING_PACKED : 0)
            | (eventIdx ? VIRTIO_F_EVENT_IDX : 0) | ((kind & 8) != 0 ? VIRTIO_F_INDIRECT_DESC : 0);
        _ring = packed ? new PackedRingWriter(_space, size, eventIdx) : new SplitRingWriter(_space, size, eventIdx);
        _drive = new HeldDrive(DriveBytes, Limits(drive)) { Inline = (drive & 1) != 0, OnSubmit = OnSubmit };
        var virtio = new VirtioBlkDevice(_drive, new VirtioBlkDeviceOptions { Serial = "fuzz", ReadOnly = (kind & 0x10) != 0 });
        virtio.SetFeatures(features);
        if ((kind & 2) != 0)
        {
            _logMemory = MappedRegion.CreateGuarded((ulong)InflightLog.RegionBytes(size, packed));
            _log = new InflightLog(_logMemory, 0, size, packed);
        }

        _reactor = Reactor.CreateStepped(new ReactorOptions { Name = "fuzz", RingEntries = 0 });
        _reactor.Faulted += (_, _, error) => _fault ??= error;
        _setup = new VirtqueueSetup
        {
            Name = "fuzz",
            Reactor = _reactor,
            Device = _drive,
            Virtio = virtio,
            Memory = _space.Memory,
            Addresses = _ring.Addresses,
            Size = size,
            Features = features,
            Base = _ring.StartBase,
            Kick = _kick,
            Call = new Ignored(),
            Error = new Ignored(),
            Inflight = _log,
            BatchSize = 1 << (batch & 7),
            AfterStore = OnStore,
        };
    }

    /// <summary>Runs it to its end.</summary>
    public void Run()
    {
        Start(_setup);
        while (!_bytes.IsAtEnd)
        {
            Do(_bytes.Byte() % Operations);
        }

        Settle();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _storesToKill = 0;
        _drive.OnSubmit = null;
        _drive.LoseAll();
        try
        {
            _queue?.End();
        }
        finally
        {
            _reactor.Dispose();
            _kick.Dispose();
            _dirtyLog?.Dispose();
            _dirtyMemory?.Dispose();
            _log?.Dispose();
            _logMemory?.Dispose();
            _space.Dispose();
        }
    }

    private static BlockLimits Limits(byte drive) => new()
    {
        Discard = (drive & 2) == 0,
        MaxTransferBytes = (drive & 4) == 0 ? 4 << 20 : 1024,
        MaxSegments = (drive & 8) == 0 ? 256 : 2,
        LogicalBlockSize = (drive & 16) == 0 ? 512 : 4096,
        MaxDiscardBytes = (drive & 32) == 0 ? 1 << 30 : 4096,
        MaxWriteZeroesBytes = (drive & 32) == 0 ? 1 << 30 : 4096,
    };

    private void Do(int operation)
    {
        switch (operation)
        {
            case >= OpPoll and < OpComplete: Poll(); break;
            case OpComplete or OpComplete + 1: Complete(_bytes.Byte()); break;
            case OpCompleteAll: CompleteAll(); break;
            case OpInline: _drive.Inline = (_bytes.Byte() & 1) != 0; break;
            case OpMeanwhile: _meanwhile.Enqueue(_bytes.Slice(_bytes.Byte())); break;
            case OpArm: Arm(); break;
            case OpPause: Pause(); break;
            case OpResume: Remember(_queue?.ResumeAsync()); break;
            case OpRestart: Restart(_bytes.Byte()); break;
            case OpKill: _storesToKill = _bytes.Byte(); break;
            case OpMemory when _spoilsLog: SpoilLog(_bytes.Byte(), _bytes.Byte(), _bytes.Quad()); break;
            case OpMemory: UseOtherMemory(_bytes.Byte()); break;
            case OpDirtyLog: UseDirtyLog(_bytes.Byte(), _bytes.Byte()); break;
            case OpConfig: _ = _setup.Virtio.TryWriteConfig(32, [(byte)(_bytes.Byte() & 1)]); break;
            case OpStatus: _drive.ForcedStatus = _bytes.Byte() is > 0xF0 and var errno ? -(errno & 0x1F) : 0; break;
            default: DriverStep(operation, _bytes); break;
        }
    }

    private void Start(VirtqueueSetup setup)
    {
        _ring.AllowWrites();
        try
        {
            _queue = VirtioBlkQueue.Create(setup);
        }
        catch (KilledException)
        {
            _queue = null;
        }
        catch (IOException e)
        {
            _queue = null;
            Require(!_ring.IsTrusted || _lost, $"A ring that nobody spoiled is refused: {e.Message}");
        }
    }

    /// <summary>A turn, with everything that the device may write found out before it and checked after it.</summary>
    private void Poll()
    {
        if (_queue is null)
        {
            return;
        }

        _ring.AllowWrites();
        _hasUnpublished = false;
        try
        {
            _reactor.Step();
        }
        catch (KilledException)
        {
            Restart(how: 0);
            return;
        }

        if (_fault is KilledException)
        {
            Restart(how: 0);
            return;
        }

        Check();
    }

    private void Check()
    {
        if (_fault is not null)
        {
            throw new InvalidOperationException("The queue was dropped: " + _fault.Message, _fault);
        }

        _space.Check();
        _ring.Reap();
        if (_log is { Packed: true })
        {
            // The entries end before the region where their number is even.
            int used = PackedInflight.HeaderBytes + (_log.QueueSize * sizeof(DescStatePacked));
            int all = (int)InflightLog.RegionBytes(_log.QueueSize, packed: true);
            var rest = new ReadOnlySpan<byte>(_log.Address + used, all - used);
            Require(rest.IndexOfAnyExcept((byte)0) < 0, "The device wrote behind the entries of the inflight log.");
        }

        if (_queue is { } queue)
        {
            long inFlight = queue.GetStatistics().InFlight;
            Require(
                inFlight >= 0 && inFlight >= _drive.HeldCount,
                $"{inFlight} requests are in flight, {_drive.HeldCount} at the drive.");
            if (inFlight == 0 && _log is not { Packed: true })
            {
                // What a packed queue's log still has to repeat may have gone from the ring.
                _space.ForbidAll();
            }
        }
    }

    private void Complete(byte which)
    {
        if (_drive.HeldCount != 0)
        {
            _hasUnpublished = true;
            _drive.Complete(which % _drive.HeldCount);
            _space.Check();
        }
    }

    private void CompleteAll()
    {
        _hasUnpublished |= _drive.HeldCount != 0;
        _drive.CompleteAll();
        _space.Check();
    }

    private void Arm()
    {
        if (_queue is { } queue)
        {
            _ring.AllowWrites();
            queue.TryArm();
            queue.Disarm();
            _space.Check();
        }
    }

    private void Pause() => Remember(_queue?.PauseAsync());

    private void Remember(Task? task)
    {
        if (task is { IsCompletedSuccessfully: false })
        {
            _tasks.Add(task);
        }
    }

    /// <summary>Ends the queue as a process does that is killed (0), or in good order, and starts a successor.</summary>
    private void Restart(int how)
    {
        _storesToKill = 0;
        _fault = null;
        if (_queue is not { } queue)
        {
            Start(_setup);
            return;
        }

        bool clean = how % 3 == 1;
        if (clean)
        {
            Pause();
            Rest();
        }

        // Whoever waited for the queue went with its process.
        _tasks.Clear();
        // An answer that the driver was not shown goes with the process.
        bool left = queue.GetStatistics().InFlight != 0 || queue.UndoneRecovered != 0 || (_hasUnpublished && !clean);
        _hasUnpublished = false;
        _drive.LoseAll();
        uint at = queue.End();
        // A chain that broke the queue was taken from the ring and is nobody's after that.
        _lost |= (left && _log is null) || queue.Fault is not null;
        if (how % 3 == 2)
        {
            // A new driver: its ring begins anew, and so does the log.
            _ring.Distrust();
            _log?.Clear();
            at = _ring.StartBase;
        }

        Start(_setup with { Base = at });
    }

    private void UseOtherMemory(byte how)
    {
        if (_queue is not { } queue)
        {
            return;
        }

        _ring.Distrust();
        int leftOut = (how & 0x80) != 0 ? -1 : how % (_space.RegionCount + 1);
        using GuestMemory table = _space.Table(leftOut == _space.RegionCount ? -1 : leftOut);
        if ((how & 0x80) != 0)
        {
            Remember(queue.ExtendMemoryAsync(table));
        }
        else
        {
            Task swap = queue.SwapMemoryAsync(table);
            Rest();
            if (ReferenceEquals(queue, _queue))
            {
                Await(swap, isRefusalFine: true);
            }
        }
    }

    /// <summary>Writes into the log: a field of the header, or of an entry.</summary>
    private void SpoilLog(byte where, byte offset, ulong value)
    {
        _ring.Distrust();
        _space.AllowsAll = true;
        bool packed = _log!.Packed;
        int header = packed ? PackedInflight.HeaderBytes : sizeof(QueueRegionSplit);
        int entry = packed ? sizeof(DescStatePacked) : sizeof(DescStateSplit);
        int at = where < 0x60 ? offset % header : header + (where % _log.QueueSize * entry) + (offset % entry);
        int end = header + (_log.QueueSize * entry);
        var bytes = new ReadOnlySpan<byte>(&value, Math.Min(1 + (where & 7), end - at));
        bytes.CopyTo(new Span<byte>(_log.Address + at, end - at));
    }

    private void UseDirtyLog(byte how, byte where)
    {
        if (_queue is not { } queue)
        {
            return;
        }

        _dirtyMemory ??= MappedRegion.CreateGuarded(64);
        _dirtyLog ??= new DirtyLog(_dirtyMemory);
        ulong address = (where & 1) == 0 ? (ulong)where << 12 : ulong.MaxValue - where;
        Remember(queue.SetDirtyLogAsync((how & 1) == 0 ? null : _dirtyLog, (how & 2) == 0 ? null : address));
    }

    private void OnStore()
    {
        if (_storesToKill != 0 && --_storesToKill == 0)
        {
            throw new KilledException();
        }
    }

    private void OnSubmit(BlockRequest request)
    {
        Require(!_drive.Held.Contains(request), "A request was submitted again before it was complete.");
        for (int i = 0; i < request.VectorCount; i++)
        {
            IoVec vector = request.Vectors[i];
            Require(
                _space.MayUse(vector.Base, vector.Length, request.Operation == BlockOperation.Read),
                $"Segment {i} of a request of {request.LengthBytes} bytes is no buffer of the guest's.");
        }

        if (_meanwhile.TryDequeue(out byte[]? steps))
        {
            var bytes = new FuzzBytes(steps);
            while (!bytes.IsAtEnd)
            {
                DriverStep(bytes.Byte() % Operations, bytes);
            }

            _ring.AllowWrites();
        }
    }

    /// <summary>Completes what waits and takes turns until nothing moves any more.</summary>
    private void Rest()
    {
        int turns = 0;
        while (_queue is { } queue && (queue.GetStatistics().InFlight != 0 || _drive.HeldCount != 0 || turns < 2))
        {
            Require(++turns < TurnsToRest, $"{queue.GetStatistics().InFlight} requests stay in flight.");
            CompleteAll();
            Poll();
        }
    }

    private void Settle()
    {
        _storesToKill = 0;
        if (_queue is null)
        {
            return;
        }

        Remember(_queue.ResumeAsync());
        for (int i = 0; i <= _ring.Size && _queue.Fault is null; i++)
        {
            Rest();
        }

        Task pause = _queue.PauseAsync();
        Rest();
        Await(pause, isRefusalFine: false);
        _tasks.ForEach(task => Await(task, isRefusalFine: false));
        Require(
            !_ring.IsTrusted || _lost || _queue.Fault is not null || _ring.Outstanding == _ring.Hidden,
            $"{_ring.Outstanding} chains of an honest driver were never answered.");
    }

    /// <summary>Takes turns until a control operation has ended: its other half comes back from a thread of the pool.</summary>
    private void Await(Task task, bool isRefusalFine)
    {
        VirtioBlkQueue? whose = _queue;
        for (int i = 0; !task.IsCompleted; i++)
        {
            if (!ReferenceEquals(whose, _queue))
            {
                // Killed meanwhile: nobody waits for it any more.
                return;
            }

            Require(i < TurnsToEnd, "A control operation does not end although nothing is in flight.");
            if (_reactor.HasMail)
            {
                Poll();
            }

            Thread.Yield();
        }

        if (task.IsFaulted && !(isRefusalFine && task.Exception.InnerException is IOException))
        {
            throw task.Exception;
        }
    }

    private sealed class Ignored : IVirtqueueNotifier
    {
        public void Notify()
        {
        }
    }

    private sealed class KilledException : Exception;
}
