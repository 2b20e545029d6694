// The haggling before transmission: fixed newstyle. Runs on the control plane, with the framework's asynchronous sockets.
//
// The client learns what the export is and can do, and chooses structured replies and metadata contexts; its choices are the
// result. Everything it sends is bounded and checked; what it may not ask is answered with an error reply, and only a client that
// breaks the framing itself is dropped. Source: doc/proto.md, "Handshake phase" and "Option haggling".

using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;
using static Polyblk.Frontends.Nbd.NbdProtocol;

namespace Polyblk.Frontends.Nbd;

/// <summary>What a client negotiated.</summary>
/// <param name="StructuredReplies">Reads are answered by chunks.</param>
/// <param name="AllocationContext">It may ask for block status.</param>
internal sealed record NbdSessionOptions(bool StructuredReplies, bool AllocationContext);

/// <summary>What an export tells its clients.</summary>
/// <param name="Name">Its name; the empty name means it as well.</param>
/// <param name="Description">For NBD_INFO_DESCRIPTION.</param>
/// <param name="SizeBytes">Size now.</param>
/// <param name="Flags">Abilities.</param>
/// <param name="MinimumBlock">Smallest request and alignment in bytes.</param>
/// <param name="PreferredBlock">Best request size in bytes.</param>
internal sealed record NbdExportInfo(
    string Name, string Description, long SizeBytes, NbdTransmissionFlags Flags, uint MinimumBlock, uint PreferredBlock);

/// <summary>One haggling on one connection.</summary>
/// <param name="socket">Connected; stays the caller's.</param>
/// <param name="info">What is served.</param>
/// <param name="takeSeat">Asked once, before the client is told that transmission begins: null, or why there is no place for
/// it.</param>
internal sealed class NbdHandshake(Socket socket, NbdExportInfo info, Func<string?> takeSeat)
{
    /// <summary>Options that a client may send. The most talkative ones need about ten.</summary>
    private const int MaxOptions = 256;

    /// <summary>Longest option that is read past and refused in good order; a longer one ends the connection.</summary>
    private const int MaxSkippedBytes = 1 << 20;

    private bool _structured;
    private bool _allocation;
    private bool _noZeroes;

    /// <summary>Negotiates. Null when the client went away or wanted no transmission.</summary>
    /// <exception cref="InvalidDataException">The client broke the protocol.</exception>
    public async Task<NbdSessionOptions?> RunAsync(CancellationToken cancellation)
    {
        byte[] greeting = new byte[18];
        BinaryPrimitives.WriteUInt64BigEndian(greeting, InitMagic);
        BinaryPrimitives.WriteUInt64BigEndian(greeting.AsSpan(8), OptionMagic);
        BinaryPrimitives.WriteUInt16BigEndian(greeting.AsSpan(16), FlagFixedNewstyle | FlagNoZeroes);
        await SendAsync(greeting, cancellation).ConfigureAwait(false);

        byte[]? flags = await ReceiveAsync(4, cancellation).ConfigureAwait(false);
        if (flags is null)
        {
            return null;
        }

        uint clientFlags = BinaryPrimitives.ReadUInt32BigEndian(flags);
        if ((clientFlags & ~(uint)(FlagFixedNewstyle | FlagNoZeroes)) != 0)
        {
            throw new InvalidDataException($"the client sent unknown flags 0x{clientFlags:x}");
        }

        _noZeroes = (clientFlags & FlagNoZeroes) != 0;
        for (int options = 0; options < MaxOptions; options++)
        {
            byte[]? header = await ReceiveAsync(16, cancellation).ConfigureAwait(false);
            if (header is null)
            {
                return null;
            }

            if (BinaryPrimitives.ReadUInt64BigEndian(header) != OptionMagic)
            {
                throw new InvalidDataException("an option does not start with its magic number");
            }

            var option = (NbdOption)BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(8));
            uint length = BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(12));
            if (length > (option == NbdOption.ExportName ? MaxOptionBytes : MaxSkippedBytes))
            {
                throw new InvalidDataException($"option {option} has {length} bytes; at most {MaxOptionBytes} are read");
            }

            if (length > MaxOptionBytes)
            {
                if (!await SkipAsync((int)length, cancellation).ConfigureAwait(false))
                {
                    return null;
                }

                byte[] message = Encoding.UTF8.GetBytes($"an option has at most {MaxOptionBytes} bytes here");
                await ReplyAsync(option, NbdReply.ErrTooBig, message, cancellation).ConfigureAwait(false);
                continue;
            }

            byte[]? data = await ReceiveAsync((int)length, cancellation).ConfigureAwait(false);
            if (data is null)
            {
                return null;
            }

            Step step = await HandleAsync(option, data, cancellation).ConfigureAwait(false);
            if (step != Step.Continue)
            {
                return step == Step.Transmit ? new NbdSessionOptions(_structured, _allocation && _structured) : null;
            }
        }

        throw new InvalidDataException($"the client sent {MaxOptions} options and chose no export");
    }

    private enum Step
    {
        Continue,
        Transmit,
        End,
    }

    private async Task<Step> HandleAsync(NbdOption option, byte[] data, CancellationToken cancellation)
    {
        switch (option)
        {
            case NbdOption.ExportName:
                return await ExportNameAsync(data, cancellation).ConfigureAwait(false);
            case NbdOption.Go:
            case NbdOption.Info:
                bool granted = await InfoAsync(option, data, cancellation).ConfigureAwait(false);
                return granted && option == NbdOption.Go ? Step.Transmit : Step.Continue;
            case NbdOption.Abort:
                await ReplyAsync(option, NbdReply.Ack, [], cancellation).ConfigureAwait(false);
                return Step.End;
            case NbdOption.List when data.Length == 0:
                await ReplyAsync(option, NbdReply.Server, WithLength(info.Name), cancellation).ConfigureAwait(false);
                await ReplyAsync(option, NbdReply.Ack, [], cancellation).ConfigureAwait(false);
                return Step.Continue;
            case NbdOption.StructuredReply when data.Length == 0:
                _structured = true;
                await ReplyAsync(option, NbdReply.Ack, [], cancellation).ConfigureAwait(false);
                return Step.Continue;
            case NbdOption.List or NbdOption.StructuredReply:
            case NbdOption.StartTls when data.Length != 0:
                await ReplyAsync(option, NbdReply.ErrInvalid, "this option has no data"u8.ToArray(), cancellation).ConfigureAwait(false);
                return Step.Continue;
            case NbdOption.ListMetaContext:
            case NbdOption.SetMetaContext:
                await MetaContextAsync(option, data, cancellation).ConfigureAwait(false);
                return Step.Continue;
            case NbdOption.StartTls:
                await ReplyAsync(option, NbdReply.ErrPolicy, "a Unix socket needs no TLS"u8.ToArray(), cancellation).ConfigureAwait(false);
                return Step.Continue;
            default:
                await ReplyAsync(option, NbdReply.ErrUnsupported, [], cancellation).ConfigureAwait(false);
                return Step.Continue;
        }
    }

    /// <summary>The old way in: no error can be answered, an unknown name ends the connection.</summary>
    private async Task<Step> ExportNameAsync(byte[] data, CancellationToken cancellation)
    {
        if (!IsThisExport(Encoding.UTF8.GetString(data)))
        {
            return Step.End;
        }

        if (takeSeat() is string refusal)
        {
            throw new InvalidDataException(refusal);
        }

        byte[] reply = new byte[_noZeroes ? 10 : 134];
        BinaryPrimitives.WriteInt64BigEndian(reply, info.SizeBytes);
        BinaryPrimitives.WriteUInt16BigEndian(reply.AsSpan(8), (ushort)Flags);
        await SendAsync(reply, cancellation).ConfigureAwait(false);
        return Step.Transmit;
    }

    private async Task<bool> InfoAsync(NbdOption option, byte[] data, CancellationToken cancellation)
    {
        if (!TryReadString(data, 0, out string name, out int at) || data.Length < at + 2
            || data.Length != at + 2 + (2 * BinaryPrimitives.ReadUInt16BigEndian(data.AsSpan(at))))
        {
            await ReplyAsync(option, NbdReply.ErrInvalid, "lengths do not add up"u8.ToArray(), cancellation).ConfigureAwait(false);
            return false;
        }

        if (!IsThisExport(name))
        {
            byte[] message = Encoding.UTF8.GetBytes($"no export of that name here; the name is '{info.Name}'");
            await ReplyAsync(option, NbdReply.ErrUnknown, message, cancellation).ConfigureAwait(false);
            return false;
        }

        if (option == NbdOption.Go && takeSeat() is string refusal)
        {
            await ReplyAsync(option, NbdReply.ErrPolicy, Encoding.UTF8.GetBytes(refusal), cancellation).ConfigureAwait(false);
            return false;
        }

        byte[] export = new byte[12];
        BinaryPrimitives.WriteUInt16BigEndian(export, (ushort)NbdInfo.Export);
        BinaryPrimitives.WriteInt64BigEndian(export.AsSpan(2), info.SizeBytes);
        BinaryPrimitives.WriteUInt16BigEndian(export.AsSpan(10), (ushort)Flags);
        await ReplyAsync(option, NbdReply.Info, export, cancellation).ConfigureAwait(false);

        byte[] blocks = new byte[14];
        BinaryPrimitives.WriteUInt16BigEndian(blocks, (ushort)NbdInfo.BlockSize);
        BinaryPrimitives.WriteUInt32BigEndian(blocks.AsSpan(2), info.MinimumBlock);
        BinaryPrimitives.WriteUInt32BigEndian(blocks.AsSpan(6), info.PreferredBlock);
        BinaryPrimitives.WriteUInt32BigEndian(blocks.AsSpan(10), MaxRequestBytes);
        await ReplyAsync(option, NbdReply.Info, blocks, cancellation).ConfigureAwait(false);

        await ReplyAsync(option, NbdReply.Info, Tagged(NbdInfo.Name, info.Name), cancellation).ConfigureAwait(false);
        await ReplyAsync(option, NbdReply.Info, Tagged(NbdInfo.Description, info.Description), cancellation).ConfigureAwait(false);
        await ReplyAsync(option, NbdReply.Ack, [], cancellation).ConfigureAwait(false);
        return true;
    }

    private async Task MetaContextAsync(NbdOption option, byte[] data, CancellationToken cancellation)
    {
        // It replaces what was chosen before, also when it fails.
        _allocation &= option != NbdOption.SetMetaContext;
        if (!TryReadQueries(data, out string name, out List<string> queries) || (option == NbdOption.SetMetaContext && !_structured))
        {
            byte[] message = Encoding.UTF8.GetBytes(_structured ? "lengths do not add up" : "ask for structured replies first");
            await ReplyAsync(option, NbdReply.ErrInvalid, message, cancellation).ConfigureAwait(false);
            return;
        }

        if (!IsThisExport(name))
        {
            await ReplyAsync(option, NbdReply.ErrUnknown, [], cancellation).ConfigureAwait(false);
            return;
        }

        bool wanted = queries.Exists(q => q == AllocationContext || (option == NbdOption.ListMetaContext && q == "base:"))
            || (option == NbdOption.ListMetaContext && queries.Count == 0);
        if (option == NbdOption.SetMetaContext)
        {
            _allocation = wanted;
        }

        if (wanted)
        {
            byte[] context = new byte[4 + AllocationContext.Length];
            BinaryPrimitives.WriteUInt32BigEndian(context, option == NbdOption.SetMetaContext ? AllocationContextId : 0);
            Encoding.ASCII.GetBytes(AllocationContext, context.AsSpan(4));
            await ReplyAsync(option, NbdReply.MetaContext, context, cancellation).ConfigureAwait(false);
        }

        await ReplyAsync(option, NbdReply.Ack, [], cancellation).ConfigureAwait(false);
    }

    private static bool TryReadQueries(byte[] data, out string name, out List<string> queries)
    {
        queries = [];
        if (!TryReadString(data, 0, out name, out int at) || data.Length < at + 4)
        {
            return false;
        }

        uint count = BinaryPrimitives.ReadUInt32BigEndian(data.AsSpan(at));
        at += 4;
        for (uint i = 0; i < count; i++)
        {
            if (!TryReadString(data, at, out string query, out at))
            {
                return false;
            }

            queries.Add(query);
        }

        return at == data.Length;
    }

    private static bool TryReadString(byte[] data, int at, out string text, out int next)
    {
        text = string.Empty;
        next = at;
        if (data.Length - at < 4)
        {
            return false;
        }

        uint length = BinaryPrimitives.ReadUInt32BigEndian(data.AsSpan(at));
        if (length > (uint)(data.Length - at - 4))
        {
            return false;
        }

        text = Encoding.UTF8.GetString(data, at + 4, (int)length);
        next = at + 4 + (int)length;
        return true;
    }

    /// <summary>What is offered depends on what was negotiated: no "don't fragment" without structured replies.</summary>
    private NbdTransmissionFlags Flags => info.Flags | (_structured ? NbdTransmissionFlags.SendDf : 0);

    private bool IsThisExport(string name) => name.Length == 0 || name == info.Name;

    private static byte[] WithLength(string text)
    {
        byte[] bytes = new byte[4 + Encoding.UTF8.GetByteCount(text)];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, (uint)bytes.Length - 4);
        Encoding.UTF8.GetBytes(text, bytes.AsSpan(4));
        return bytes;
    }

    private static byte[] Tagged(NbdInfo type, string text)
    {
        byte[] bytes = new byte[2 + Encoding.UTF8.GetByteCount(text)];
        BinaryPrimitives.WriteUInt16BigEndian(bytes, (ushort)type);
        Encoding.UTF8.GetBytes(text, bytes.AsSpan(2));
        return bytes;
    }

    private async Task ReplyAsync(NbdOption option, NbdReply type, byte[] data, CancellationToken cancellation)
    {
        byte[] reply = new byte[20 + data.Length];
        BinaryPrimitives.WriteUInt64BigEndian(reply, OptionReplyMagic);
        BinaryPrimitives.WriteUInt32BigEndian(reply.AsSpan(8), (uint)option);
        BinaryPrimitives.WriteUInt32BigEndian(reply.AsSpan(12), (uint)type);
        BinaryPrimitives.WriteUInt32BigEndian(reply.AsSpan(16), (uint)data.Length);
        data.CopyTo(reply, 20);
        await SendAsync(reply, cancellation).ConfigureAwait(false);
    }

    private async Task SendAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellation)
    {
        while (!bytes.IsEmpty)
        {
            int sent = await socket.SendAsync(bytes, cancellation).ConfigureAwait(false);
            bytes = bytes[sent..];
        }
    }

    /// <summary>Reads exactly that many bytes; null when the client closed the connection.</summary>
    private async Task<byte[]?> ReceiveAsync(int count, CancellationToken cancellation)
    {
        byte[] bytes = new byte[count];
        for (int have = 0; have < count;)
        {
            int read = await socket.ReceiveAsync(bytes.AsMemory(have), cancellation).ConfigureAwait(false);
            if (read == 0)
            {
                return null;
            }

            have += read;
        }

        return bytes;
    }

    /// <summary>Reads that many bytes and forgets them; false when the client closed the connection.</summary>
    private async Task<bool> SkipAsync(int count, CancellationToken cancellation)
    {
        for (int left = count; left > 0;)
        {
            int piece = Math.Min(left, MaxOptionBytes);
            if (await ReceiveAsync(piece, cancellation).ConfigureAwait(false) is null)
            {
                return false;
            }

            left -= piece;
        }

        return true;
    }
}
