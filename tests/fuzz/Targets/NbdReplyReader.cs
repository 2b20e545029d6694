using System.Buffers.Binary;
using Polyblk.Frontends.Nbd;
using static Polyblk.Frontends.Nbd.NbdProtocol;
using static Polyblk.Fuzz.FuzzFailureException;

namespace Polyblk.Fuzz.Targets;

/// <summary>Reads the replies of an NBD server as a client does, and throws at one that is not what it must be.</summary>
/// <param name="structured">Whether reads are answered by chunks.</param>
internal sealed class NbdReplyReader(bool structured)
{
    private const int HeadBytes = 20;
    private readonly Dictionary<ulong, (NbdCommand Command, uint Length)> _expected = [];
    private readonly List<byte> _head = [];
    private ulong _lastCookie = 0x1000;
    private long _dataLeft;
    private bool _trusted = true;
    private bool _leaves;

    /// <summary>Something was sent that is no whole request: what comes back cannot be told any more.</summary>
    public void Distrust() => _trusted = false;

    /// <summary>A request is about to be sent; returns its cookie.</summary>
    public ulong Expect(NbdCommand command, uint length)
    {
        _lastCookie++;
        _leaves |= command == NbdCommand.Disconnect;
        if (!_leaves)
        {
            _expected[_lastCookie] = (command, length);
        }

        return _lastCookie;
    }

    /// <summary>Takes what came.</summary>
    public void Read(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty && _trusted)
        {
            int data = (int)Math.Min(_dataLeft, bytes.Length);
            _dataLeft -= data;
            bytes = bytes[data..];
            if (bytes.IsEmpty)
            {
                return;
            }

            _head.Add(bytes[0]);
            bytes = bytes[1..];
            TakeHead();
        }
    }

    /// <summary>Throws when a request was not answered although the connection lives.</summary>
    public void RequireAllAnswered() =>
        Require(
            !_trusted || _leaves || (_expected.Count == 0 && _dataLeft == 0), $"{_expected.Count} requests were never answered.");

    private void TakeHead()
    {
        if (_head.Count < 4)
        {
            return;
        }

        byte[] head = [.. _head];
        uint magic = BinaryPrimitives.ReadUInt32BigEndian(head);
        Require(magic is SimpleReplyMagic or StructuredReplyMagic, $"A reply begins with 0x{magic:x}.");
        if (head.Length < (magic == SimpleReplyMagic ? SimpleReplyBytes : HeadBytes))
        {
            return;
        }

        _head.Clear();
        ulong cookie = BinaryPrimitives.ReadUInt64BigEndian(head.AsSpan(8));
        Require(
            _expected.Remove(cookie, out (NbdCommand Command, uint Length) request),
            $"A reply has the cookie 0x{cookie:x}, of which no request is open.");
        bool isChunk = structured && request.Command is NbdCommand.Read or NbdCommand.BlockStatus;
        if (magic == SimpleReplyMagic)
        {
            uint error = BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(4));
            Require(
                !(structured && request.Command == NbdCommand.Read),
                "A read is answered by a simple reply although structured ones were agreed on.");
            _dataLeft = error == 0 && request.Command == NbdCommand.Read ? request.Length : 0;
            return;
        }

        Require(isChunk, $"{request.Command} is answered by a chunk.");
        var type = (NbdChunk)BinaryPrimitives.ReadUInt16BigEndian(head.AsSpan(6));
        uint length = BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(16));
        Require(
            length == type switch
            {
                NbdChunk.Error => 6,
                NbdChunk.BlockStatus => 12,
                NbdChunk.OffsetData => request.Length + 8,
                _ => 0,
            },
            $"A chunk of type {type} has {length} bytes.");
        _dataLeft = length;
    }
}
