// A drive in memory whose requests complete when the test says so, in any order.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Fakes.Virtio;

/// <summary>A drive for single-threaded tests: one array of bytes, and requests that are held back.</summary>
public sealed unsafe class HeldDrive : IBlockDevice
{
    private readonly List<BlockRequest> _held = [];

    /// <summary>Makes one filled with zeroes.</summary>
    public HeldDrive(int sizeBytes, BlockLimits? limits = null)
    {
        Content = new byte[sizeBytes];
        Limits = limits ?? new BlockLimits { Discard = true };
    }

    /// <inheritdoc/>
    public event Action<IBlockDevice>? Resized;

    /// <inheritdoc/>
    public string Name => "held";

    /// <inheritdoc/>
    public long SizeBytes => Content.Length;

    /// <inheritdoc/>
    public BlockLimits Limits { get; }

    /// <summary>What is on the drive.</summary>
    public byte[] Content { get; private set; }

    /// <summary>Whether requests complete inside Submit.</summary>
    public bool Inline { get; set; }

    /// <summary>Told of every request before anything is done with it: what happens meanwhile, or what goes wrong.</summary>
    public Action<BlockRequest>? OnSubmit { get; set; }

    /// <summary>Requests that wait.</summary>
    public int HeldCount => _held.Count;

    /// <summary>The requests that wait, oldest first.</summary>
    public IReadOnlyList<BlockRequest> Held => _held;

    /// <summary>Every request that was submitted, in order.</summary>
    public List<(BlockOperation Operation, BlockFlags Flags, long Offset, long Length)> Log { get; } = [];

    /// <summary>Status for all requests from now on; 0 executes them.</summary>
    public int ForcedStatus { get; set; }

    /// <summary>Open queues.</summary>
    public int OpenQueues { get; private set; }

    /// <inheritdoc/>
    public IBlockQueue OpenQueue(Reactor reactor)
    {
        OpenQueues++;
        return new Queue(this);
    }

    /// <summary>Executes and completes a waiting request.</summary>
    public void Complete(int index)
    {
        BlockRequest request = _held[index];
        _held.RemoveAt(index);
        request.Complete(Execute(request));
    }

    /// <summary>Executes a waiting request and forgets it, as a process does that dies before it could answer.</summary>
    public void ExecuteAndLose(int index)
    {
        Execute(_held[index]);
        _held.RemoveAt(index);
    }

    /// <summary>Forgets the waiting requests, as a process does that dies.</summary>
    public void LoseAll() => _held.Clear();

    /// <summary>Completes whatever waits, oldest first, until nothing does.</summary>
    public void CompleteAll()
    {
        while (_held.Count != 0)
        {
            Complete(0);
        }
    }

    /// <summary>Makes the drive larger.</summary>
    public void Grow(int sizeBytes)
    {
        byte[] content = Content;
        Array.Resize(ref content, sizeBytes);
        Content = content;
        Resized?.Invoke(this);
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    private int Execute(BlockRequest request)
    {
        if (ForcedStatus != 0)
        {
            return ForcedStatus;
        }

        if (request.OffsetBytes < 0 || request.OffsetBytes + request.LengthBytes > SizeBytes)
        {
            return -Errno.EINVAL;
        }

        switch (request.Operation)
        {
            case BlockOperation.Read:
            case BlockOperation.Write:
                Copy(request);
                break;
            case BlockOperation.Discard:
            case BlockOperation.WriteZeroes:
                Content.AsSpan((int)request.OffsetBytes, (int)request.LengthBytes).Clear();
                break;
        }

        return 0;
    }

    private void Copy(BlockRequest request)
    {
        int at = (int)request.OffsetBytes;
        for (int i = 0; i < request.VectorCount; i++)
        {
            var guest = new Span<byte>(request.Vectors[i].Base, (int)request.Vectors[i].Length);
            Span<byte> disk = Content.AsSpan(at, guest.Length);
            if (request.Operation == BlockOperation.Read)
            {
                disk.CopyTo(guest);
            }
            else
            {
                guest.CopyTo(disk);
            }

            at += guest.Length;
        }

        if (at - (int)request.OffsetBytes != request.LengthBytes)
        {
            throw new InvalidOperationException("The segments of a request do not add up to its length.");
        }
    }

    private sealed class Queue(HeldDrive drive) : IBlockQueue
    {
        public void Submit(BlockRequest request)
        {
            drive.OnSubmit?.Invoke(request);
            drive.Log.Add((request.Operation, request.Flags, request.OffsetBytes, request.LengthBytes));
            if (drive.Inline)
            {
                request.Complete(drive.Execute(request));
            }
            else
            {
                drive._held.Add(request);
            }
        }

        public void Dispose() => drive.OpenQueues--;
    }
}
