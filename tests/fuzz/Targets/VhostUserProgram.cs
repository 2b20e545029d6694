// A program of bytes that plays a vhost-user front-end, its guest and the drive. The messages go through a socket and the
// session's own channel and back-end; the reactor is this thread, which takes turns while the back-end waits for its queues.
//
// Whatever comes, either a message is handled or the session ends; nothing else is thrown, no error of ours is logged, and at
// the end no descriptor, no queue and no place on the reactor is left behind.

using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;
using Polyblk.Fakes.Virtio;
using Polyblk.Frontends;
using Polyblk.Frontends.VhostUser;
using Polyblk.Fuzz.Guest;
using Polyblk.Virtio;
using Polyblk.Virtio.Memory;
using Polyblk.Virtio.VhostUser;
using static Polyblk.Fuzz.FuzzFailureException;

namespace Polyblk.Fuzz.Targets;

/// <summary>One run of such a program.</summary>
internal sealed unsafe partial class VhostUserProgram : IDisposable
{
    public const byte OpMessage = 0;
    public const byte OpAttach = 6;
    public const byte OpRequest = 7;
    public const byte OpStep = 9;
    public const byte OpHold = 11;
    public const byte OpComplete = 12;
    public const byte OpTruncate = 13;
    public const byte OpWrite = 14;
    public const byte OpRaw = 15;
    public const byte OpPause = 16;
    public const byte OpResume = 17;
    public const byte OpResize = 18;
    private const int Operations = 20;

    private const int DriveBytes = 64 << 10;
    private const int Queues = 2;
    private const int TurnsToRest = 20_000;
    private const int TurnsToEnd = 2_000_000;

    private readonly FuzzBytes _bytes;
    private readonly int _lowestFd = LowestFreeDescriptor();
    private readonly DescriptorPool _pool = new();
    private readonly HeldDrive _drive = new(DriveBytes) { Inline = true };
    private readonly Reactor _reactor;
    private readonly ReactorGroup _group;
    private readonly VhostUserChannel _frontend;
    private readonly VhostUserChannel _channel;
    private readonly SessionLogs _logs = new(StrictLogger.Instance);
    private readonly Backend _backend;
    private Exception? _fault;
    private volatile string? _offence;
    private bool _ended;
    private bool _disposed;

    /// <summary>
    /// What the first mapping of a process makes (the guard of mappings has a descriptor) is no leak of an input's.
    /// </summary>
    static VhostUserProgram()
    {
        using var pool = new DescriptorPool();
        using var file = new SafeFileHandle(pool.Memory, ownsHandle: false);
        using MappedRegion region = MappedRegion.Map(file, 0, DescriptorPool.MemoryBytes);
    }

    public VhostUserProgram(FuzzBytes bytes)
    {
        _bytes = bytes;
        byte kind = bytes.Byte();
        _reactor = Reactor.CreateStepped(new ReactorOptions { Name = "fuzz", RingEntries = 0 });
        _reactor.Faulted += (_, _, error) => _fault ??= error;
        _group = new ReactorGroup(_reactor);
        (UnixSocket left, int right) = UnixSocket.Pair();
        _frontend = new VhostUserChannel(left);
        _channel = new VhostUserChannel(new UnixSocket(right));
        var spec = new ExportSpec
        {
            Id = "fuzz", VolumeName = "fuzz", Device = _drive, Queues = Queues, ReadOnly = (kind & 1) != 0,
            Options = new Dictionary<string, string> { ["sealed-memory"] = (kind & 2) != 0 ? "on" : "off" },
        };
        var virtio = new VirtioBlkDeviceOptions { Serial = "fuzz", ReadOnly = spec.ReadOnly, Queues = Queues };
        VhostUserOptions options = VhostUserOptions.From(spec);
        var context = new SessionContext(_drive, virtio, options, _group, new QueueTotals(), _logs, TimeProvider.System)
        {
            Wait = TakeTurnsUntil,
        };
        _backend = new Backend(context, "fuzz", (kind & 4) != 0, StrictLogger.Instance, offence => _offence ??= offence);
    }

    /// <summary>Whether there is a descriptor more in this process than before. Another thread may have opened it.</summary>
    public bool LeftDescriptor { get; private set; }

    /// <summary>Runs it to its end.</summary>
    public void Run()
    {
        while (!_bytes.IsAtEnd && !_ended)
        {
            Do(_bytes.Byte() % Operations);
            _ended |= _offence is not null;
        }

        Dispose();
        Require(_drive.HeldCount == 0 && _drive.OpenQueues == 0, "A queue of the drive was left open.");
        Require(_group.Plan[0] == 0, "A place on the reactor was not given back.");
        LeftDescriptor = LowestFreeDescriptor() != _lowestFd;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        try
        {
            _backend.Dispose();
            Check();
        }
        finally
        {
            _channel.Dispose();
            _frontend.Dispose();
            _pool.Dispose();
            _logs.Dispose();
            _group.Dispose();
        }
    }

    private static int LowestFreeDescriptor()
    {
        int fd = Libc.eventfd(0, Libc.EFD_CLOEXEC);
        _ = Libc.close(fd);
        return fd;
    }

    private void Do(int operation)
    {
        switch (operation)
        {
            case < OpAttach: SendMessage((VhostUserRequest)_bytes.Byte()); break;
            case OpAttach: Attach(_bytes.Byte()); break;
            case OpRequest or OpRequest + 1: WriteRequest(_bytes.Byte()); break;
            case OpStep or OpStep + 1: Step(); break;
            case OpHold: _drive.Inline = (_bytes.Byte() & 1) == 0; break;
            case OpComplete when _drive.HeldCount != 0: _drive.Complete(_bytes.Byte() % _drive.HeldCount); break;
            case OpTruncate: _pool.Truncate(_bytes.Byte(), _bytes.Byte() * 1024L); break;
            case OpWrite: WriteMemory(); break;
            case OpRaw: SendRaw(_bytes.Slice(_bytes.Byte())); break;
            case OpPause: _ = _backend.PauseAsync(); break;
            case OpResume: _backend.Resume(); break;
            case OpResize: _backend.SendConfigChange(); break;
            default: break;
        }
    }

    private void Step()
    {
        Libc.SignalEventFd(_pool.Event);
        _reactor.Step();
        Check();
    }

    private void Check()
    {
        if (_fault is not null)
        {
            throw new InvalidOperationException("A queue met a bug: " + _fault.Message, _fault);
        }
    }

    /// <summary>What the session's thread does while it waits for the queues: here it is the reactor that must go on.</summary>
    private void TakeTurnsUntil(Task task)
    {
        for (int i = 0; !task.IsCompleted; i++)
        {
            Require(i < TurnsToEnd, "The back-end waits for its queues for ever.");
            if (_drive.HeldCount != 0 || _reactor.HasMail || i < TurnsToRest)
            {
                _drive.CompleteAll();
                _reactor.Step();
                Check();
            }

            if (i > 4)
            {
                Thread.Yield();
            }
        }

        task.GetAwaiter().GetResult();
    }

    private void Send(VhostUserRequest request, ReadOnlySpan<byte> payload, ReadOnlySpan<int> fds, uint flags = 0)
    {
        if (_frontend.Send((uint)request, flags, payload, fds, timeoutMs: 0) == SocketResult.Done)
        {
            HandleAll();
        }
    }

    private void SendRaw(ReadOnlySpan<byte> bytes)
    {
        if (!bytes.IsEmpty && _frontend.SendRaw(bytes) == SocketResult.Done)
        {
            _isCut = true;
            HandleAll();
        }
    }

    /// <summary>Handles the messages that have come, as the session's thread does.</summary>
    private void HandleAll()
    {
        while (!_ended)
        {
            using var fds = new FdList();
            SocketResult result = _channel.Receive(fds, timeoutMs: 0);
            if (result != SocketResult.Done)
            {
                // A piece of a message: the session would wait for the rest. It would not come back to its beginning.
                _ended = result != SocketResult.TimedOut || _isCut;
                return;
            }

            try
            {
                _backend.Handle(_channel, fds);
            }
            catch (ProtocolException e)
            {
                Require(!string.IsNullOrEmpty(e.Message), "A session ends without a reason.");
                _ended = true;
            }

            Check();
            TakeReplies();
        }
    }

    private void TakeReplies()
    {
        using var fds = new FdList();
        while (_frontend.Receive(fds, timeoutMs: 0) == SocketResult.Done)
        {
            Require(
                _frontend.Header.flags == (VhostUserAbi.VERSION | VhostUserAbi.REPLY)
                    && _frontend.Header.size <= VhostUserChannel.MaxPayloadBytes,
                "A reply is not marked as one, or is too large.");
        }
    }
}
