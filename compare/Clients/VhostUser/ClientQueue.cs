// The driver's side of one virtqueue: a fixed number of request slots, each with its header, its status byte and its buffer.
//
// One thread uses a queue: it fills slots (Submit), tells the device (Publish), and takes what is finished (Poll), by polling or
// by sleeping on the call eventfd (Wait). Nothing allocates, and everything that does not change between two uses of a slot is
// written beforehand, so that the driver costs little beside what it measures.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Polyblk.Core.Interop;
using Tmds.Linux;

namespace Polyblk.Compare.Clients.VhostUser;

/// <summary>A queue of a <see cref="VhostUserClient"/>. One thread at a time.</summary>
public abstract unsafe class ClientQueue : IVirtioQueue, IDisposable
{
    /// <summary>VIRTIO_BLK_S_*: what the status byte holds until the device writes it.</summary>
    public const byte NoStatus = 0xFF;

    private protected const int SlotBytes = 64;
    private const int StatusOffset = 16;
    private const int RangeOffset = 32;

    private readonly byte* _control;
    private readonly byte* _buffers;
    private readonly bool[] _busy;
    private readonly ClientMemory _memory;
    private long _calls;

    private protected ClientQueue(ClientMemory memory, in QueueLayout layout, VhostUserClientOptions options, int size)
    {
        _memory = memory;
        _control = memory.Address + layout.Control;
        _buffers = memory.Address + layout.Buffers;
        Depth = options.Depth;
        BufferBytes = options.BufferBytes;
        Size = size;
        _busy = new bool[Depth];
        KickFd = Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK);
        CallFd = Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK);
        if (KickFd < 0 || CallFd < 0)
        {
            throw new IOException("No descriptors are left for a queue (raise the limit: ulimit -n).");
        }
    }

    /// <summary>Slots.</summary>
    public int Depth { get; }

    /// <summary>Bytes of a slot's buffer.</summary>
    public int BufferBytes { get; }

    /// <summary>Entries of the ring.</summary>
    public int Size { get; }

    /// <summary>Requests submitted and not yet taken by <see cref="Poll"/>.</summary>
    public int InFlight { get; private set; }

    /// <summary>How often the device was kicked.</summary>
    public long Kicks { get; private set; }

    /// <summary>
    /// How often the device has signalled the call eventfd, from the counter of the eventfd; what <see cref="Wait"/> took is not
    /// in it. Any thread, provided that no other is in <see cref="Wait"/>.
    /// </summary>
    public long ReadCalls()
    {
        ulong calls;
        _calls += Libc.read(CallFd, &calls, sizeof(ulong)) == sizeof(ulong) ? (long)calls : 0;
        return _calls;
    }

    /// <summary>The kick eventfd.</summary>
    internal int KickFd { get; }

    /// <summary>The call eventfd.</summary>
    internal int CallFd { get; }

    /// <summary>Where a back-end that starts without a log begins: VRING_BASE of everything that is used.</summary>
    internal abstract uint Base { get; }

    /// <summary>A slot's buffer.</summary>
    public byte* BufferOf(int slot) => _buffers + ((long)slot * BufferBytes);

    /// <summary>A slot's buffer as a span.</summary>
    public Span<byte> Buffer(int slot) => new(BufferOf(slot), BufferBytes);

    /// <summary>Whether the slot is in flight.</summary>
    public bool IsBusy(int slot) => _busy[slot];

    /// <inheritdoc/>
    public long Notifications => Kicks + ReadCalls();

    /// <summary>Puts a request into the ring. The device sees it at <see cref="Publish"/> at the latest.</summary>
    /// <param name="slot">A slot that is not in flight.</param>
    /// <param name="operation">What to do.</param>
    /// <param name="offsetBytes">Where; a multiple of 512.</param>
    /// <param name="lengthBytes">How much: at most the buffer for reads and writes; ignored for a flush.</param>
    public void Submit(int slot, ClientOperation operation, long offsetBytes, long lengthBytes)
    {
        if (_busy[slot])
        {
            throw new InvalidOperationException($"Slot {slot} is in flight.");
        }

        byte* control = _control + (slot * SlotBytes);
        *(uint*)control = (uint)operation;
        *(uint*)(control + 4) = 0;
        *(ulong*)(control + 8) = operation is ClientOperation.Read or ClientOperation.Write ? (ulong)offsetBytes >> 9 : 0;
        control[StatusOffset] = NoStatus;
        byte* data = BufferOf(slot);
        uint length = (uint)lengthBytes;
        if (operation is ClientOperation.Discard or ClientOperation.WriteZeroes)
        {
            data = control + RangeOffset;
            *(ulong*)data = (ulong)offsetBytes >> 9;
            *(uint*)(data + 8) = (uint)(lengthBytes >> 9);
            *(uint*)(data + 12) = 0;
            length = 16;
        }
        else if (operation == ClientOperation.Flush)
        {
            length = 0;
        }

        _busy[slot] = true;
        InFlight++;
        Enqueue(slot, data, length, operation is ClientOperation.Read or ClientOperation.GetId);
    }

    /// <summary>Shows the device what was submitted, and kicks it where it wants that.</summary>
    public void Publish()
    {
        if (MustKick())
        {
            Kicks++;
            Libc.SignalEventFd(KickFd);
        }
    }

    /// <summary>Takes finished requests.</summary>
    /// <returns>How many were written into <paramref name="completions"/>.</returns>
    public int Poll(Span<ClientCompletion> completions)
    {
        int count = 0;
        while (count < completions.Length && TryDequeue(out int slot, out uint written))
        {
            if ((uint)slot >= (uint)Depth || !_busy[slot])
            {
                throw new InvalidDataException($"The device gave back slot {slot}, which is not in flight.");
            }

            _busy[slot] = false;
            InFlight--;
            completions[count++] = new ClientCompletion(slot, Volatile.Read(ref *(_control + (slot * SlotBytes) + StatusOffset)), (int)written);
        }

        if (count != 0)
        {
            Polled();
        }

        return count;
    }

    /// <summary>Sleeps until something is finished.</summary>
    /// <returns>False when nothing came in time.</returns>
    public bool Wait(int timeoutMs)
    {
        EnableCalls();

        // Pairs with the device's fence between publishing used entries and deciding whether to notify.
        Interlocked.MemoryBarrier();
        long end = Environment.TickCount64 + timeoutMs;
        bool found = HasUsed;
        for (long left = timeoutMs; !found && left > 0; left = end - Environment.TickCount64)
        {
            // A signal may be an old one, of something that was taken by polling: look, and sleep again.
            var wait = new pollfd { fd = CallFd, events = Libc.POLLIN };
            _ = Libc.poll(&wait, 1, (int)left);
            ulong value;
            _ = Libc.read(CallFd, &value, sizeof(ulong));
            found = HasUsed;
        }

        DisableCalls();
        return found;
    }

    /// <summary>Whether the device has given something back.</summary>
    public abstract bool HasUsed { get; }

    /// <summary>Kicks the device whatever it wants: after a reconnection.</summary>
    public void Kick() => Libc.SignalEventFd(KickFd);

    /// <inheritdoc/>
    public void Dispose()
    {
        GC.SuppressFinalize(this);
        _ = Libc.close(KickFd);
        _ = Libc.close(CallFd);
    }

    /// <summary>Guest address of something in the shared memory.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private protected ulong Guest(byte* address) => ClientMemory.GuestBase + (ulong)(address - _memory.Address);

    private protected ulong HeaderOf(int slot) => Guest(_control + (slot * SlotBytes));

    private protected ulong StatusOf(int slot) => HeaderOf(slot) + StatusOffset;

    private protected abstract void Enqueue(int slot, byte* data, uint length, bool deviceWrites);

    private protected abstract bool MustKick();

    private protected abstract bool TryDequeue(out int slot, out uint written);

    /// <summary>After a batch was taken: keeps notifications off.</summary>
    private protected abstract void Polled();

    private protected abstract void EnableCalls();

    private protected abstract void DisableCalls();
}
