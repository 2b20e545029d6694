// One region under way from the old drive to the new one: lock, read, write, unlock.
//
// Where the old drive cannot read, the region goes on row by row. A row that cannot be read is made from the other members, as a
// repair does it, with the region unlocked: the row is written by the array's own way, which is the twin, so the new drive has it
// then, whether or not the old one took it. A row of RAID 0 has nothing that it could be made from: the region fails.

using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Map;

namespace Polyblk.Raid.Jobs;

/// <summary>See the top of the file. One reactor's.</summary>
internal sealed unsafe class CopyRow : RangeWaiter, IBlockCompletion, IRowCompletion, IDisposable
{
    private readonly CopyRows _rows;
    private readonly Replacement _replacement;
    private readonly RaidGeometry _geometry;
    private readonly int _index;
    private readonly int _rowBytes;
    private readonly long _maxBytes;
    private readonly BlockRequest _request = new();
    private readonly IoVec* _vector;
    private readonly byte* _buffer;
    private RangeWaiter? _mend;
    private IRowCompletion? _completion;
    private long _at, _end;
    private int _length;
    private bool _isSmall;
    private bool _waitsForRows;

    public CopyRow(CopyRows rows, Replacement replacement, int index)
    {
        _rows = rows;
        _replacement = replacement;
        _index = index;
        _geometry = rows.Array.Geometry;
        _rowBytes = RaidUnits.RowBytes(_geometry);
        replacement.MendBytes = _rowBytes;
        long most = Math.Min(replacement.Old.Way!.Limits.MaxTransferBytes, replacement.New.Way!.Limits.MaxTransferBytes);
        _maxBytes = Math.Max(4096, Math.Min(most, CopyMap.RegionBytes) & ~4095L);
        _vector = (IoVec*)NativeMemory.Alloc((nuint)sizeof(IoVec));
        _buffer = (byte*)NativeMemory.AlignedAlloc(CopyMap.RegionBytes, 4096);
        _request.Completion = this;
        _mend = rows.Mender?.CreateRow();
    }

    internal override Reactor Home => _rows.Home;

    internal override RangeLocks Locks => _waitsForRows ? _rows.Array.Locks : _replacement.Locks;

    /// <summary>Copies a region.</summary>
    public void Start(long region, IRowCompletion completion)
    {
        _completion = completion;
        _at = CopyMap.Begin(region);
        _end = _replacement.Copies.End(region);
        _isSmall = false;
        _waitsForRows = _rows.WaitsForRows && _end > _geometry.DataOffset;
        if (!_waitsForRows)
        {
            LockRegion();
            return;
        }

        // With groups, those of the others too, which lie between.
        FirstUnit = RaidUnits.At(_geometry, _replacement.Role, Math.Max(_at, _geometry.DataOffset));
        UnitCount = (int)(RaidUnits.At(_geometry, _replacement.Role, _end - 1) - FirstUnit + 1);
        if (Locks.LockOrWait(this))
        {
            OnLocked();
        }
    }

    /// <summary>A read or a write is done.</summary>
    public void OnCompleted(BlockRequest request)
    {
        bool isRead = request.Operation == BlockOperation.Read;
        if ((isRead ? _rows.Old : _rows.New).ComesAgain(request))
        {
            return;
        }

        if (isRead)
        {
            OnRead(request.Status);
        }
        else if (request.Status == 0)
        {
            _at += _length;
            Next();
        }
        else
        {
            _replacement.GiveUp(request.Status);
            Finish(request.Status);
        }
    }

    /// <summary>A row was made from the other members.</summary>
    public void OnRowDone(RangeWaiter row, int status)
    {
        _replacement.EndMend(_index);
        if (status < 0)
        {
            _completion!.OnRowDone(this, status);
            return;
        }

        _at = EndOfRow();
        LockRegion();
    }

    public void Dispose()
    {
        if (_mend is not null)
        {
            _rows.Mender!.DisposeRow(_mend);
            _mend = null;
        }

        NativeMemory.Free(_vector);
        NativeMemory.AlignedFree(_buffer);
    }

    protected override void OnLocked()
    {
        if (!_waitsForRows)
        {
            Next();
            return;
        }

        // Whoever comes now comes by the twin.
        Locks.Unlock(FirstUnit, UnitCount);
        _waitsForRows = false;
        LockRegion();
    }

    private void LockRegion()
    {
        FirstUnit = _at >> TwinOp.LockShift;
        UnitCount = (int)(((_end - 1) >> TwinOp.LockShift) - FirstUnit + 1);
        if (_at == _end)
        {
            _completion!.OnRowDone(this, 0);
        }
        else if (Locks.LockOrWait(this))
        {
            Next();
        }
    }

    private void Next()
    {
        if (_at == _end)
        {
            Finish(0);
            return;
        }

        _length = (int)Math.Min(_isSmall ? EndOfRow() - _at : _maxBytes, _end - _at);
        Send(BlockOperation.Read, _rows.Old);
    }

    private void OnRead(int status)
    {
        if (status == 0)
        {
            Send(BlockOperation.Write, _rows.New);
            return;
        }

        _replacement.Old.CountReadError();
        if (!_isSmall)
        {
            _isSmall = true;
            Next();
            return;
        }

        Mend(status);
    }

    private void Mend(int status)
    {
        long row = BeginOfRow();
        bool isOfVolume = row >= _geometry.DataOffset && (_geometry.HasParity || _geometry.Unmap(_replacement.Role, row) >= 0);
        if (!isOfVolume)
        {
            // Nobody would miss it.
            _at = EndOfRow();
            Next();
            return;
        }

        if (((_rows.Array.State.BadAt(UnitOf(row)) >> _replacement.Role) & 1) != 0)
        {
            // Nor is it read from the new drive: the role's list stays, and is mended there.
            _at = EndOfRow();
            Next();
            return;
        }

        if (_mend is null)
        {
            Finish(status);
            return;
        }

        Locks.Unlock(FirstUnit, UnitCount);
        _replacement.BeginMend(_index, row);
        _rows.StartMend(_mend, _replacement.Role, row, this);
    }

    private long UnitOf(long row) => _geometry.HasParity
        ? RaidUnits.At(_geometry, _replacement.Role, row)
        : _geometry.Unmap(_replacement.Role, row) >> RaidUnits.MirrorShift;

    private long BeginOfRow() => _at < _geometry.DataOffset ? _at : _at - ((_at - _geometry.DataOffset) % _rowBytes);

    private long EndOfRow() => Math.Min(_end, _at < _geometry.DataOffset ? _geometry.DataOffset : BeginOfRow() + _rowBytes);

    private void Send(BlockOperation operation, PatientQueue queue)
    {
        *_vector = new IoVec(_buffer, (nuint)_length);
        _request.Prepare(operation, _at, _length, _vector, 1);
        _request.Traits = BufferTraits.CpuAccessible | BufferTraits.Stable;
        queue.Submit(_request);
    }

    private void Finish(int status)
    {
        Locks.Unlock(FirstUnit, UnitCount);
        _completion!.OnRowDone(this, status);
    }
}
