using Polyblk.Compare.Clients.VhostUser;

namespace Polyblk.Compare.Clients.Blkio;

/// <summary>A queue of libblkio as slots. The library sends what was submitted when it is asked for completions.</summary>
internal sealed unsafe class BlkioQueue(BlkioDisk disk, int index, long bufferOffset, int bufferBytes) : IVirtioQueue
{
    private const int Batch = 64;
    private const byte Failed = 1; // VIRTIO_BLK_S_IOERR

    private readonly nint _queue = disk.Queue(index);
    private int _prepared;

    public int InFlight { get; private set; }

    public long Notifications => 0;

    public Span<byte> Buffer(int slot) => new(BufferOf(slot), bufferBytes);

    public void Submit(int slot, ClientOperation operation, long offsetBytes, long lengthBytes)
    {
        InFlight++;
        _prepared++;
        switch (operation)
        {
            case ClientOperation.Read:
                LibBlkio.blkioq_read(_queue, (ulong)offsetBytes, BufferOf(slot), (nuint)lengthBytes, slot, 0);
                break;
            case ClientOperation.Write:
                LibBlkio.blkioq_write(_queue, (ulong)offsetBytes, BufferOf(slot), (nuint)lengthBytes, slot, 0);
                break;
            case ClientOperation.Flush:
                LibBlkio.blkioq_flush(_queue, slot, 0);
                break;
            default:
                throw new NotSupportedException($"libblkio's queue is not used for {operation} here.");
        }
    }

    /// <summary>
    /// Sends without waiting for the next look: whoever has other queues to look at first would delay the requests.
    /// </summary>
    public void Publish()
    {
        if (_prepared != 0)
        {
            _ = DoIo(null, 0);
        }
    }

    public int Poll(Span<ClientCompletion> completions)
    {
        blkio_completion* done = stackalloc blkio_completion[Batch];
        int count = DoIo(done, Math.Min(Batch, completions.Length));
        for (int i = 0; i < count; i++)
        {
            completions[i] = new ClientCompletion((int)done[i].user_data, done[i].ret == 0 ? (byte)0 : Failed, 0);
        }

        InFlight -= count;
        return count;
    }

    private int DoIo(blkio_completion* done, int most)
    {
        int count = LibBlkio.blkioq_do_io(_queue, done, 0, most, null);
        _prepared = 0;
        return count >= 0 ? count : throw new IOException($"libblkio: do_io: {LibBlkio.ErrorMessage} ({count})");
    }

    private byte* BufferOf(int slot) => disk.Buffer + bufferOffset + ((long)slot * bufferBytes);
}
