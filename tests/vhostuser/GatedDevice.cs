using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.VhostUser.Tests;

/// <summary>
/// A device in memory that a test can make hold its requests, and that counts how often each block was written.
/// </summary>
internal sealed unsafe class GatedDevice : IBlockDevice
{
    private const int BlockBytes = 512;

    private readonly byte[] _memory;
    private readonly int[] _writes;
    private readonly List<Queue> _queues = [];
    private volatile bool _holding;
    private bool _throws;
    private int _held;
    private int _size;

    public GatedDevice(int sizeBytes, bool readOnly = false)
    {
        _memory = GC.AllocateArray<byte>(sizeBytes, pinned: true);
        _writes = new int[sizeBytes / BlockBytes];
        _size = sizeBytes;
        Limits = new BlockLimits { LogicalBlockSize = BlockBytes, PhysicalBlockSize = BlockBytes, MinimumIoSize = BlockBytes, Discard = true, ReadOnly = readOnly, OptimalIoSize = 65536 };
    }

    public event Action<IBlockDevice>? Resized;

    public string Name => "gated";

    public long SizeBytes => Volatile.Read(ref _size);

    public BlockLimits Limits { get; }

    /// <summary>Whether its code has a bug.</summary>
    public bool Throws
    {
        get => Volatile.Read(ref _throws);
        set => Volatile.Write(ref _throws, value);
    }

    /// <summary>Requests that are held now.</summary>
    public int Held => Volatile.Read(ref _held);

    /// <summary>Queues that are open now.</summary>
    public int OpenQueues
    {
        get
        {
            lock (_queues)
            {
                return _queues.Count;
            }
        }
    }

    public Span<byte> Content => _memory;

    /// <summary>How often the block at an offset was written.</summary>
    public int WritesAt(long offsetBytes) => Volatile.Read(ref _writes[offsetBytes / BlockBytes]);

    public void Hold() => _holding = true;

    /// <summary>Executes what is held, and everything that comes later at once.</summary>
    public void Release()
    {
        _holding = false;
        Queue[] queues;
        lock (_queues)
        {
            queues = [.. _queues];
        }

        foreach (Queue queue in queues)
        {
            queue.Reactor.InvokeAsync(queue.Flush).Wait();
        }
    }

    /// <summary>Shows less of the memory, or all of it again.</summary>
    public void Resize(int sizeBytes)
    {
        Volatile.Write(ref _size, sizeBytes);
        Resized?.Invoke(this);
    }

    public IBlockQueue OpenQueue(Reactor reactor)
    {
        var queue = new Queue(this, reactor);
        lock (_queues)
        {
            _queues.Add(queue);
        }

        return queue;
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    private int Execute(BlockRequest request)
    {
        if (request.Operation == BlockOperation.Flush)
        {
            return 0;
        }

        if (request.OffsetBytes < 0 || request.LengthBytes < 0 || request.OffsetBytes > SizeBytes - request.LengthBytes)
        {
            return -Errno.EINVAL;
        }

        if (request.Operation != BlockOperation.Read)
        {
            if (Limits.ReadOnly)
            {
                return -Errno.EROFS;
            }

            for (long block = request.OffsetBytes / BlockBytes; block < (request.OffsetBytes + request.LengthBytes) / BlockBytes; block++)
            {
                Interlocked.Increment(ref _writes[block]);
            }
        }

        Span<byte> range = _memory.AsSpan((int)request.OffsetBytes, (int)request.LengthBytes);
        if (!request.HasData)
        {
            range.Clear();
            return 0;
        }

        for (int i = 0; i < request.VectorCount; i++)
        {
            var segment = new Span<byte>(request.Vectors[i].Base, (int)request.Vectors[i].Length);
            if (request.Operation == BlockOperation.Read)
            {
                range[..segment.Length].CopyTo(segment);
            }
            else
            {
                segment.CopyTo(range);
            }

            range = range[segment.Length..];
        }

        return 0;
    }

    private sealed class Queue(GatedDevice device, Reactor reactor) : IBlockQueue
    {
        private readonly Queue<BlockRequest> _waiting = new(1024);

        public Reactor Reactor => reactor;

        public void Submit(BlockRequest request)
        {
            if (device.Throws)
            {
                throw new InvalidDataException("a bug");
            }

            if (device._holding)
            {
                _waiting.Enqueue(request);
                Interlocked.Increment(ref device._held);
                return;
            }

            request.Complete(device.Execute(request));
        }

        public void Flush()
        {
            while (_waiting.TryDequeue(out BlockRequest? request))
            {
                Interlocked.Decrement(ref device._held);
                request.Complete(device.Execute(request));
            }
        }

        public void Dispose()
        {
            lock (device._queues)
            {
                device._queues.Remove(this);
            }
        }
    }
}
