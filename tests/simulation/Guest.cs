// The guest of a life: the driver of one virtqueue a queue, over memory of its own, that submits, reaps and judges.

using System.Buffers.Binary;
using Polyblk.Core.Reactors;
using Polyblk.Fakes.Virtio;
using Polyblk.Simulation.Tests.Lives;
using Polyblk.Virtio;
using Polyblk.Virtio.Memory;
using static Polyblk.Virtio.VirtioBlkProtocol;
using static Polyblk.Virtio.VirtioFeatures;

namespace Polyblk.Simulation.Tests;

/// <summary>A queue of the guest.</summary>
internal sealed record GuestQueue(GuestDriver Ring, GuestBlk Blk, InflightLog Log, MappedRegion LogMemory)
{
    /// <summary>Who serves it now; null when nobody does.</summary>
    public VirtioBlkQueue? Served { get; set; }

    /// <summary>Where a server goes on that is no successor of a killed one.</summary>
    public uint Base { get; set; }
}

/// <summary>See the top of the file. It acts when its time has come, and lives until its power is cut.</summary>
internal sealed class Guest : IActor, IDisposable
{
    private const ulong RingsAddress = 0x10_0000;
    private const ulong RingStride = 0x1_0000;
    private const ulong ArenaAddress = 0x4000_0000;
    private const ulong ArenaBytes = 80 << 10;
    private const int MostBytes = 32 << 10;
    private const int IdleThinkNs = 100_000;

    private static readonly object s_nothing = new();

    private readonly World _world;
    private readonly LifePlan _plan;
    private readonly Chance _chance;
    private readonly VolumeModel _model;
    private readonly GuestSpace _space;
    private TaskCompletionSource? _rested;
    private TaskCompletionSource? _awaited;
    private int _awaitedLeft;
    private int _left;
    private int _idleActs;

    public Guest(World world, LifePlan plan, Chance chance, VolumeModel model)
    {
        _world = world;
        _plan = plan;
        _chance = chance;
        _model = model;
        int arenas = plan.QueueSize;
        var regions = new List<(ulong, ulong)>();
        for (int i = 0; i < plan.Queues; i++)
        {
            regions.Add((RingsAddress + ((ulong)i * RingStride), RingStride));
            regions.Add((ArenaAddress * (ulong)(i + 1), ArenaBytes * (ulong)arenas));
        }

        _space = new GuestSpace([.. regions]);
        Features = VIRTIO_F_VERSION_1 | VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES | VIRTIO_F_INDIRECT_DESC
            | (plan.EventIdx ? VIRTIO_F_EVENT_IDX : 0) | (plan.Packed ? VIRTIO_F_RING_PACKED : 0);
        Queues = [.. Enumerable.Range(0, plan.Queues).Select(i => MakeQueue(i, arenas))];
        world.Actors.Add(this);
    }

    /// <summary>What it negotiated.</summary>
    public ulong Features { get; }

    /// <summary>Its memory.</summary>
    public GuestMemory Memory => _space.Memory;

    /// <summary>Its queues.</summary>
    public GuestQueue[] Queues { get; }

    /// <summary>Whether requests may fail: a drive misbehaves in more than one place.</summary>
    public bool ExpectsErrors { get; set; }

    /// <summary>
    /// Whether reads may fail until the next start: a drive answers errors, and what it holds is not made from parity that may
    /// not fit.
    /// </summary>
    public bool ReadsMayFail { get; set; }

    /// <summary>Whether somebody serves it, or is about to: otherwise nobody can ask for anything in its name.</summary>
    public bool IsServed { get; set; }

    /// <summary>Requests that failed.</summary>
    public int Errors { get; private set; }

    /// <inheritdoc/>
    public long NextActNs { get; private set; } = long.MaxValue;

    /// <summary>Submits so many requests of its own choice. The task ends when all are answered.</summary>
    public Task WorkAsync(int requests)
    {
        _left = requests;
        return RestAsync();
    }

    /// <summary>The task ends when it has so many requests of its own left to submit.</summary>
    public async Task WhenLeftAsync(int requests)
    {
        ThrowUnlessServed();
        _awaited = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _awaitedLeft = requests;
        await _awaited.Task;
    }

    /// <summary>
    /// Whoever asked for something in the guest's name is told that it is forgotten. It is still in flight, and so is the guest's
    /// own work.
    /// </summary>
    public void ForgetAsked()
    {
        IsServed = false;
        var forgotten = new LifeException("forgotten");
        TaskCompletionSource? rested = _rested;
        _rested = null;
        rested?.TrySetException(forgotten);
        _awaited?.TrySetException(forgotten);
        foreach (GuestRequest request in Queues.SelectMany(q => q.Blk.Requests))
        {
            if (request.Tag is TaskCompletionSource<GuestAnswer> asked)
            {
                request.Tag = s_nothing;
                asked.TrySetException(forgotten);
            }
        }
    }

    /// <summary>Submits nothing of its own any more. The task ends when all is answered.</summary>
    public async Task RestAsync()
    {
        ThrowUnlessServed();
        _rested ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Task rested = _rested.Task;
        Think();
        await rested;
    }

    /// <summary>Reads a part of the volume.</summary>
    /// <exception cref="LifeException">The device answered with an error.</exception>
    public async Task<byte[]> ReadAsync(long offset, int length)
    {
        var data = new byte[length];
        for (int at = 0; at < length; at += MostBytes)
        {
            int part = Math.Min(MostBytes, length - at);
            GuestAnswer answer = await AskAsync(Queues[0], VIRTIO_BLK_T_IN, offset + at, [], part);
            if (answer.Status != VIRTIO_BLK_S_OK)
            {
                throw new LifeException($"reading {part} bytes at {offset + at} gave status {answer.Status}");
            }

            answer.In.CopyTo(data, at);
        }

        return data;
    }

    /// <summary>Flushes.</summary>
    /// <exception cref="LifeException">The device answered with an error.</exception>
    public async Task FlushAsync()
    {
        long begun = _model.Step();
        GuestAnswer answer = await AskAsync(Queues[0], VIRTIO_BLK_T_FLUSH, 0, [], 0);
        if (answer.Status != VIRTIO_BLK_S_OK)
        {
            throw new LifeException($"a flush gave status {answer.Status}");
        }

        _model.Flushed(begun);
    }

    /// <summary>Its power is cut: it never acts again, and whoever waits for it is told.</summary>
    public void Die()
    {
        _world.Actors.Remove(this);
        NextActNs = long.MaxValue;
        ForgetAsked();
    }

    /// <inheritdoc/>
    public void Act()
    {
        NextActNs = long.MaxValue;
        int inFlight = 0;
        _idleActs++;
        foreach (GuestQueue queue in Queues)
        {
            for (int most = _chance.Between(1, 8); most > 0 && queue.Blk.TryGetAnswer() is { } answer; most--)
            {
                Take(answer);
                _idleActs = 0;
            }

            Submit(queue);
            inFlight += queue.Blk.InFlight;
        }

        if (_left <= _awaitedLeft)
        {
            _awaited?.TrySetResult();
        }

        if (inFlight != 0 || _left != 0)
        {
            Think();
        }
        else if (_rested is { } rested)
        {
            _rested = null;
            rested.TrySetResult();
        }
    }

    public void Dispose()
    {
        foreach (GuestQueue queue in Queues)
        {
            queue.Log.Dispose();
            queue.LogMemory.Dispose();
        }

        _space.Dispose();
    }

    /// <summary>
    /// It acts again after a while, which grows while there is nothing for it to do: looks in vain are events in which nothing
    /// happens.
    /// </summary>
    private void Think()
    {
        int most = Math.Clamp(_plan.ThinkNs << Math.Min(_idleActs, 6), _plan.ThinkNs, Math.Max(_plan.ThinkNs, IdleThinkNs));
        NextActNs = Math.Min(NextActNs, _world.Clock.NowNs + _chance.Next(most));
    }

    private GuestQueue MakeQueue(int index, int arenas)
    {
        GuestDriver ring = GuestDriver.Create(_space, _plan.QueueSize, Features, RingsAddress + ((ulong)index * RingStride));
        MappedRegion memory = MappedRegion.CreateAnonymous((ulong)InflightLog.RegionBytes(_plan.QueueSize, _plan.Packed));
        return new GuestQueue(
            ring,
            new GuestBlk(ring, ArenaAddress * (ulong)(index + 1), ArenaBytes, arenas),
            new InflightLog(memory, 0, _plan.QueueSize, _plan.Packed),
            memory)
        {
            Base = ring.StartBase,
        };
    }

    private async Task<GuestAnswer> AskAsync(GuestQueue queue, uint type, long offset, byte[] data, int inBytes)
    {
        ThrowUnlessServed();
        var done = new TaskCompletionSource<GuestAnswer>(TaskCreationOptions.RunContinuationsAsynchronously);
        GuestRequest? request;
        while ((request = queue.Blk.Submit(type, (ulong)offset / 512, data, inBytes)) is null)
        {
            await RestAsync();
        }

        request.Tag = done;
        Noted(queue, request);
        Think();
        return await done.Task;
    }

    private void ThrowUnlessServed()
    {
        if (!IsServed)
        {
            throw new LifeException("nobody serves the guest");
        }
    }

    private void Submit(GuestQueue queue)
    {
        for (int most = _chance.Between(0, _plan.Burst); most > 0 && _left > 0; most--)
        {
            if (!SubmitOne(queue))
            {
                return;
            }

            _left--;
            _idleActs = 0;
        }
    }

    private bool SubmitOne(GuestQueue queue)
    {
        if (queue.Blk.InFlight >= _plan.QueueSize / 4)
        {
            return false;
        }

        (long offset, int length) = Place();
        int kind = _chance.Next(100);
        if (kind < _plan.FlushPercent)
        {
            return Send(queue, VIRTIO_BLK_T_FLUSH, 0, [], 0, new Asked(null, 0, _model.Step()));
        }

        if (kind < 35)
        {
            return Send(queue, VIRTIO_BLK_T_IN, offset, [], length, new Asked(null, offset, _model.Step()));
        }

        if (kind < 42)
        {
            bool discard = kind < 38;
            ModelWrite zeroes = _model.BeginZeroes(offset, length, discard);
            var range = new byte[16];
            BinaryPrimitives.WriteUInt64LittleEndian(range, (ulong)offset / 512);
            BinaryPrimitives.WriteUInt32LittleEndian(range.AsSpan(8), (uint)length / 512);
            BinaryPrimitives.WriteUInt32LittleEndian(range.AsSpan(12), discard ? 0u : _chance.OneIn(2) ? 1u : 0u);
            return Send(queue, discard ? VIRTIO_BLK_T_DISCARD : VIRTIO_BLK_T_WRITE_ZEROES, 0, range, 0, new Asked(zeroes, 0, 0));
        }

        (ModelWrite write, byte[] data) = _model.BeginWrite(offset, length);
        return Send(queue, VIRTIO_BLK_T_OUT, offset, data, 0, new Asked(write, 0, 0));
    }

    private (long Offset, int Length) Place()
    {
        long blocks = _plan.VolumeBytes / VolumeModel.BlockBytes;
        int length = _chance.Next(4) switch
        {
            0 => 1,
            1 => _chance.Between(1, 16),
            2 => _plan.ChunkBytes / VolumeModel.BlockBytes,
            _ => _chance.Between(1, MostBytes / VolumeModel.BlockBytes),
        };
        long offset = _chance.Next((int)(blocks - length + 1));
        offset = _chance.OneIn(3) ? Math.Min(offset / 8 * 8, blocks - length) : offset;

        // Often the same few places: overlaps are what goes wrong.
        offset = _chance.OneIn(2) ? Math.Min(offset % 96, blocks - length) : offset;
        return (offset * VolumeModel.BlockBytes, length * VolumeModel.BlockBytes);
    }

    private bool Send(GuestQueue queue, uint type, long offset, byte[] data, int inBytes, Asked asked)
    {
        ChainShape shape = _chance.OneIn(3) ? new ChainShape { Indirect = 2 } : ChainShape.Ordinary;
        GuestRequest request = queue.Blk.Submit(type, (ulong)offset / 512, data, inBytes, shape)
            ?? throw new LifeException("the ring is full, although it cannot be");
        request.Tag = asked;
        Noted(queue, request);
        return true;
    }

    private void Noted(GuestQueue queue, GuestRequest request)
    {
        _world.Note("asked", Array.IndexOf(Queues, queue), request.Type, (long)request.Sector, request.Token);
        if (queue.Served is { } served)
        {
            _world.Wake(served.Setup.Reactor);
        }
    }

    private void Take(GuestAnswer answer)
    {
        _world.Note("answered", answer.Request.Token, answer.Request.Type, answer.Status, (long)Trace.HashOf(answer.In));
        if (answer.Request.Tag is TaskCompletionSource<GuestAnswer> done)
        {
            done.TrySetResult(answer);
            return;
        }

        if (answer.Request.Tag is not Asked asked)
        {
            return;
        }

        bool success = answer.Status == VIRTIO_BLK_S_OK;
        Errors += success ? 0 : 1;
        bool mayFail = ExpectsErrors || (ReadsMayFail && answer.Request.Type == VIRTIO_BLK_T_IN);
        if (!success && !mayFail)
        {
            throw new LifeException(
                $"a request of type {answer.Request.Type} at sector {answer.Request.Sector} gave status {answer.Status}");
        }

        if (asked.Write is { } write)
        {
            _model.End(write, success);
        }
        else if (success && answer.Request.Type == VIRTIO_BLK_T_FLUSH)
        {
            _model.Flushed(asked.Begun);
        }
        else if (success && _model.Judge(asked.Offset, answer.In, asked.Begun, powerWasLost: false) is { } wrong)
        {
            throw new LifeException(wrong);
        }
    }

    private sealed record Asked(ModelWrite? Write, long Offset, long Begun);
}
