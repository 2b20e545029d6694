// Moves one window of the volume from its old place to its new one: reads it through a queue of the old geometry, writes it
// through one of the new. Both are its own, and pass no gate: what is written lies before the first row that anybody needs, so
// nothing has to be marked for it. Members that are lost are made up for by the queues, as for anybody.
//
// The window is closed meanwhile (ReshapeRun.cs). What is behind the old volume's end is zeroed.

using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;

namespace Polyblk.Raid.Reshape;

/// <summary>See the top of the file. On the home reactor, unless it says otherwise.</summary>
internal sealed unsafe class WindowMover : IBlockCompletion
{
    private readonly ReshapeMap _map;
    private readonly RaidQueue _new, _old;
    private readonly BlockRequest _request = new();
    private readonly IoVec* _vector;
    private readonly byte* _buffer;
    private readonly Action _done;
    private long _from, _to;
    private int _state;
    private int _status;

    /// <param name="map">What lies where.</param>
    /// <param name="newQueue">A queue of the new geometry; its own from now on.</param>
    /// <param name="old">One of the old.</param>
    /// <param name="mostBytes">The longest window.</param>
    /// <param name="done">Called when a window is done.</param>
    public WindowMover(ReshapeMap map, RaidQueue newQueue, RaidQueue old, long mostBytes, Action done)
    {
        _map = map;
        _new = newQueue;
        _old = old;
        _done = done;
        BufferBytes = Math.Max(mostBytes, map.New.StripeDataSize);
        _vector = (IoVec*)NativeMemory.Alloc((nuint)sizeof(IoVec));
        _buffer = (byte*)NativeMemory.AlignedAlloc((nuint)BufferBytes, 4096);
        _request.Completion = this;
    }

    /// <summary>The longest window.</summary>
    public long BufferBytes { get; }

    /// <summary>Whether a window is under way. Any thread.</summary>
    public bool IsBusy => Volatile.Read(ref _state) == 1;

    /// <summary>What became of the last window: 0 or a negative errno. Any thread, when it is not busy.</summary>
    public int Status => Volatile.Read(ref _status);

    /// <summary>Moves a window, which is closed.</summary>
    public void Start(ReshapeWindow window)
    {
        (_from, _to) = (window.From, window.To);
        Volatile.Write(ref _state, 1);
        if (_from >= _map.OldCapacity)
        {
            _request.Prepare(BlockOperation.WriteZeroes, _from, _to - _from, null, 0);
            _request.Traits = BufferTraits.CpuAccessible | BufferTraits.Stable;
            _new.Submit(_request);
            return;
        }

        long there = Math.Min(_to, _map.OldCapacity) - _from;
        NativeMemory.Clear(_buffer + there, (nuint)(_to - _from - there));
        Send(BlockOperation.Read, _old, _from + _map.Bias, there);
    }

    /// <inheritdoc/>
    public void OnCompleted(BlockRequest request)
    {
        if (request.Operation == BlockOperation.Read && request.Status == 0)
        {
            Send(BlockOperation.Write, _new, _from, _to - _from);
            return;
        }

        Volatile.Write(ref _status, request.Status);
        Volatile.Write(ref _state, 0);
        _done();
    }

    /// <summary>Nothing is under way.</summary>
    public void Dispose()
    {
        _new.Dispose();
        _old.Dispose();
        NativeMemory.Free(_vector);
        NativeMemory.AlignedFree(_buffer);
    }

    private void Send(BlockOperation operation, RaidQueue queue, long offset, long length)
    {
        *_vector = new IoVec(_buffer, (nuint)length);
        _request.Prepare(operation, offset, length, _vector, 1);
        _request.Traits = BufferTraits.CpuAccessible | BufferTraits.Stable | BufferTraits.Aligned;
        queue.Submit(_request);
    }
}
