// A program of bytes that plays an NBD client, its drive and its export. Header: what is skipped and what the export is; the
// bytes of the handshake with their length; then steps.
//
// The replies are read as a client reads them. As long as only whole requests were sent (and nothing raw), each must be
// answered once, in good form, with as much data as was asked for; at the end, with everything completed and the client gone,
// the connection must end.

using System.Buffers.Binary;
using System.Net.Sockets;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;
using Polyblk.Fakes.Virtio;
using Polyblk.Frontends.Nbd;
using static Polyblk.Frontends.Nbd.NbdProtocol;
using static Polyblk.Fuzz.FuzzFailureException;

namespace Polyblk.Fuzz.Targets;

/// <summary>One run of such a program.</summary>
internal sealed unsafe class NbdProgram : IDisposable
{
    public const byte OpRequest = 0;
    public const byte OpRaw = 4;
    public const byte OpStep = 6;
    public const byte OpComplete = 9;
    public const byte OpCompleteAll = 11;
    public const byte OpInline = 12;
    public const byte OpRead = 13;
    public const byte OpDrain = 15;
    public const byte OpResume = 16;
    public const byte OpStatus = 17;
    public const byte OpClose = 18;
    private const int Operations = 20;

    private const int DriveBytes = 256 << 10;
    private const long LaneBytes = 96L << 20;
    private const int TurnsToRest = 5000;
    private static readonly uint[] s_lengths =
        [0, 1, 511, 512, 1024, 4096, 65536, 128 << 10, 256 << 10, 32 << 20, (32 << 20) + 512, uint.MaxValue];
    private static readonly ulong[] s_offsets =
        [0, 512, 4096, 255 << 10, 256 << 10, 1UL << 40, long.MaxValue, 1UL << 63, ulong.MaxValue - 511];

    private readonly FuzzBytes _bytes;
    private readonly byte _kind;
    private readonly HeldDrive _drive;
    private readonly Reactor _reactor;
    private readonly Socket _server;
    private readonly Socket _client;
    private readonly NbdReplyReader _replies;
    private readonly byte[] _buffer = new byte[64 << 10];
    private NbdLane? _lane;
    private NbdConnection? _connection;
    private Exception? _fault;
    private bool _isGone;

    public NbdProgram(FuzzBytes bytes)
    {
        _bytes = bytes;
        _kind = bytes.Byte();
        byte drive = bytes.Byte();
        _drive = new HeldDrive(DriveBytes, new BlockLimits
        {
            Discard = true,
            LogicalBlockSize = (drive & 1) == 0 ? 512 : 4096,
            MaxTransferBytes = (drive & 2) == 0 ? 4 << 20 : 8192,
            MaxSegments = (drive & 4) == 0 ? 256 : 2,
            MaxDiscardBytes = (drive & 8) == 0 ? 1 << 30 : 4096,
            MaxWriteZeroesBytes = (drive & 8) == 0 ? 1 << 30 : 4096,
        });
        _reactor = Reactor.CreateStepped(new ReactorOptions { Name = "fuzz", RingEntries = 0 });
        _reactor.Faulted += (_, _, error) => _fault ??= error;
        int* pair = stackalloc int[2];
        Require(
            Libc.socketpair(Libc.AF_UNIX, Libc.SOCK_STREAM | Libc.SOCK_CLOEXEC, 0, pair) == 0, "No pair of sockets can be made.");
        _server = new Socket(new SafeSocketHandle(pair[0], ownsHandle: true));
        _client = new Socket(new SafeSocketHandle(pair[1], ownsHandle: true)) { Blocking = false };
        _replies = new NbdReplyReader((_kind & 2) != 0);
    }

    /// <summary>Runs it to its end.</summary>
    public void Run()
    {
        NbdSessionOptions? options = new(StructuredReplies: (_kind & 2) != 0, AllocationContext: (_kind & 6) == 6);
        ReadOnlySpan<byte> handshake = _bytes.Slice(_bytes.Word());
        if ((_kind & 1) == 0)
        {
            _replies.Distrust();
            Send(handshake);
            options = Haggle();
        }

        if (options is not null)
        {
            Transmit(options);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        // After a failure the connection may have requests at the drive for ever: it is left alone then, so that the failure is
        // what is seen.
        if (_connection is null || _connection.InFlight == 0)
        {
            _connection?.Dispose();
            _lane?.Dispose();
        }

        _reactor.Dispose();
        _server.Dispose();
        _client.Dispose();
    }

    private NbdSessionOptions? Haggle()
    {
        var info = new NbdExportInfo(
            "data", "a volume", DriveBytes, NbdTransmissionFlags.HasFlags | NbdTransmissionFlags.SendFlush, MinimumBlock: 512,
            PreferredBlock: 4096);
        using var end = new CancellationTokenSource();
        Task<NbdSessionOptions?> task = new NbdHandshake(_server, info, () => null).RunAsync(end.Token);

        // Everything that the client says is in the socket already; when it is used up and no transmission began, the client
        // leaves.
        for (int i = 0; !task.IsCompleted; i++)
        {
            Require(i < 1_000_000, "A handshake does not end although its client has left.");
            while (Receive() > 0)
            {
            }

            if (_server.Available == 0 && !_isGone)
            {
                _isGone = true;
                _client.Shutdown(SocketShutdown.Send);
            }

            Thread.Yield();
        }

        try
        {
            return task.GetAwaiter().GetResult();
        }
        catch (InvalidDataException)
        {
            // The refusal that ends the connection.
            return null;
        }
    }

    private void Transmit(NbdSessionOptions options)
    {
        _server.Blocking = false;
        _lane = new NbdLane(_reactor, LaneBytes, TimeSpan.FromSeconds(60));
        int fd = (int)_server.SafeHandle.DangerousGetHandle();
        var counters = new NbdCounters(_reactor);
        NbdConnection connection = new(_lane, _reactor, _drive, fd, options, readOnly: (_kind & 8) != 0, counters);
        _connection = connection;
        while (!_bytes.IsAtEnd && !connection.Closed.IsCompleted)
        {
            Do(_bytes.Byte() % Operations, connection);
        }

        End(connection);
    }

    private void Do(int operation, NbdConnection connection)
    {
        switch (operation)
        {
            case < OpRaw: SendRequest(); break;
            case OpRaw or OpRaw + 1: SendRaw(_bytes.Slice(_bytes.Byte())); break;
            case < OpComplete: Step(); break;
            case OpComplete or OpComplete + 1: Complete(_bytes.Byte()); break;
            case OpCompleteAll: _drive.CompleteAll(); break;
            case OpInline: _drive.Inline = (_bytes.Byte() & 1) != 0; break;
            case OpRead or OpRead + 1: ReadReplies(1 + _bytes.Byte()); break;
            case OpDrain: _ = connection.DrainAsync(); break;
            case OpResume: connection.Resume(); break;
            case OpStatus: _drive.ForcedStatus = _bytes.Byte() is > 0xF0 and var errno ? -(errno & 0x1F) : 0; break;
            case OpClose when (_bytes.Byte() & 7) == 0: connection.Close(); break;
            default: break;
        }
    }

    /// <summary>A whole request, right or not.</summary>
    private void SendRequest()
    {
        byte command = _bytes.Byte();
        byte flags = _bytes.Byte();
        byte where = _bytes.Byte();
        byte size = _bytes.Byte();
        uint length = s_lengths[size % s_lengths.Length];
        var number = (NbdCommand)(command < 0xF0 ? command % 8 : command);
        bool isWrite = number == NbdCommand.Write;
        if (isWrite && length > DriveBytes)
        {
            // More than this never comes: what is announced and stays away is for raw bytes to try.
            length = DriveBytes;
        }

        byte[] request = new byte[RequestBytes];
        BinaryPrimitives.WriteUInt32BigEndian(request, RequestMagic);
        BinaryPrimitives.WriteUInt16BigEndian(request.AsSpan(4), (ushort)(flags & 0x0F));
        BinaryPrimitives.WriteUInt16BigEndian(request.AsSpan(6), (ushort)number);
        BinaryPrimitives.WriteUInt64BigEndian(
            request.AsSpan(16), where < 0xE0 ? (ulong)where * 512 : s_offsets[where % s_offsets.Length]);
        BinaryPrimitives.WriteUInt32BigEndian(request.AsSpan(24), length);
        ulong cookie = _replies.Expect(number, length);
        BinaryPrimitives.WriteUInt64BigEndian(request.AsSpan(8), cookie);
        Send(request);
        if (isWrite)
        {
            byte[] data = new byte[length];
            data.AsSpan().Fill(flags);
            Send(data);
        }
    }

    private void SendRaw(ReadOnlySpan<byte> bytes)
    {
        _replies.Distrust();
        Send(bytes);
    }

    /// <summary>
    /// Sends all: what does not fit into the socket goes when the server has read some. A server that reads nothing more loses
    /// the rest.
    /// </summary>
    private void Send(ReadOnlySpan<byte> bytes)
    {
        for (int tries = 0; !bytes.IsEmpty && !_isGone && tries < TurnsToRest; tries++)
        {
            int sent = _client.Send(bytes, SocketFlags.None, out SocketError error);
            if (error is not (SocketError.Success or SocketError.WouldBlock))
            {
                _isGone = true;
                return;
            }

            bytes = bytes[Math.Max(0, error == SocketError.Success ? sent : 0)..];
            if (!bytes.IsEmpty && _connection is not null)
            {
                ReadReplies(int.MaxValue);
                _drive.CompleteAll();
                Step();
            }
        }

        if (!bytes.IsEmpty)
        {
            _replies.Distrust();
            _isGone = true;
            _client.Shutdown(SocketShutdown.Send);
        }
    }

    private void Step()
    {
        _reactor.Step();
        _connection?.OnRung();
        Check();
    }

    private void Check()
    {
        Exception? bug = _fault ?? _connection?.Bug;
        if (bug is not null)
        {
            throw new InvalidOperationException("The connection met a bug: " + bug.Message, bug);
        }
    }

    private void Complete(byte which)
    {
        if (_drive.HeldCount != 0)
        {
            _drive.Complete(which % _drive.HeldCount);
        }
    }

    private int Receive()
    {
        int got = _client.Receive(_buffer, SocketFlags.None, out SocketError error);
        return error == SocketError.Success ? got : 0;
    }

    private void ReadReplies(int most)
    {
        while (most > 0)
        {
            int got = _client.Receive(_buffer.AsSpan(0, Math.Min(most, _buffer.Length)), SocketFlags.None, out SocketError error);
            if (error != SocketError.Success || got == 0)
            {
                return;
            }

            _replies.Read(_buffer.AsSpan(0, got));
            most -= got;
        }
    }

    private void End(NbdConnection connection)
    {
        connection.Resume();
        bool wasOpen = !connection.Closed.IsCompleted && !_isGone;
        for (int i = 0; i < 64 && !connection.Closed.IsCompleted; i++)
        {
            _drive.CompleteAll();
            Step();
            ReadReplies(int.MaxValue);
        }

        if (wasOpen && !connection.Closed.IsCompleted)
        {
            _replies.RequireAllAnswered();
        }

        _isGone = true;
        _client.Dispose();
        for (int i = 0; !connection.Closed.IsCompleted; i++)
        {
            Require(i < TurnsToRest, "A connection does not end although its client has left and nothing is at the device.");
            _drive.CompleteAll();
            Step();
        }

        Require(_drive.HeldCount == 0, "A connection ended before its requests at the device.");
        connection.Dispose();
        _connection = null;
        Require(_drive.OpenQueues == 0, "The drive's queue was left open.");
        Require(
            _lane!.IsEmpty && _lane.Arena.FreeBlocks == LaneBytes / BlockArena.BlockBytes,
            "Memory of the lane did not come back.");
    }
}
