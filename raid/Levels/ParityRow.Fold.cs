// The arithmetic of a row: new content from the submitter's memory into staging, and the parities.

using System.Diagnostics;
using System.Numerics;
using Polyblk.Core.Block;
using Polyblk.Raid.Parity;

namespace Polyblk.Raid.Levels;

internal sealed unsafe partial class ParityRow
{
    private readonly ParityKernels _kernels;
    private readonly byte** _pointers;
    private readonly byte** _sources;
    private readonly byte** _copies;
    private readonly IoVec* _runs;
    private bool _zeroes;
    private ulong _nowhere;

    private void Compute()
    {
        if (_job == Job.Read && ((_reading >> _target) & 1) != 0)
        {
            CopyOut();
            return;
        }

        if (_job == Job.Read)
        {
            byte* destination = DirectDestination();
            Recover(destination);
            if (destination is null)
            {
                CopyOut();
            }

            return;
        }

        if (_job is Job.Resync or Job.Rebuild)
        {
            ComputeResync();
            return;
        }

        switch (_plan)
        {
            case Plan.Full:
                FoldAll();
                break;
            case Plan.Modify when _reading == 0:
                CopyPieces();
                break;
            case Plan.Modify:
                ModifyPieces();
                break;
            case Plan.Reconstruct when _written != 0 && PiecesCoverColumns():
                FoldAll();
                break;
            case Plan.Reconstruct:
                CopyPieces();
                Generate();
                break;
            default:
                Recover(null);
                CopyPieces();
                Generate();
                break;
        }
    }

    private void ComputeResync()
    {
        if (_lo == _hi)
        {
            return;
        }

        if ((_lost & _dataMask) != 0)
        {
            Recover(null);
        }

        Generate();
    }

    /// <summary>
    /// Where a read's block can be made without a copy: the submitter's memory, when it is contiguous and the block is not to be
    /// written back. Null where it must be made in staging.
    /// </summary>
    private byte* DirectDestination()
    {
        IoVecCursor cursor = _pieces[_target].Source;
        IoVec run = cursor.NextRun(_hi - _lo);
        return (int)run.Length == _hi - _lo && (_unreadable & (1UL << _target)) == 0 ? run.Base : null;
    }

    /// <summary>
    /// Makes the lost blocks from the others: in staging, but the target where <paramref name="destination"/> says.
    /// </summary>
    private void Recover(byte* destination)
    {
        if (_queue.Solver is { } solver)
        {
            RecoverFromMany(solver, destination);
            return;
        }

        // A Q that was not read counts as lost, unless the parities that are left would not be enough then.
        ulong missing = AllBlocks & ~_reading;
        ulong data = missing & _dataMask;
        ulong q = _parityCount > 1 ? 1UL << (_dataCount + 1) : 0;
        ulong lost = data | (missing & ~_dataMask & ~q) | (BitOperations.PopCount(data) == 1 && (missing & (1UL << _dataCount)) == 0 ? 0 : missing & q);
        PointAt(_lo);
        if (destination is not null)
        {
            _pointers[_target] = destination;
        }

        DemandRecovered(StripeRecovery.TryRecover(_kernels, _pointers, _dataCount, _parityCount, lost, (nuint)(_hi - _lo)));
    }

    /// <summary>
    /// The same with more than two parities: of a read the target alone, else all data that was not read. A parity that was not
    /// read is made by <see cref="Generate"/>.
    /// </summary>
    private void RecoverFromMany(StripeSolver solver, byte* destination)
    {
        PointAt(_lo);
        if (destination is not null)
        {
            _pointers[_target] = destination;
        }

        ulong wanted = _job == Job.Read ? 1UL << _target : _dataMask & ~_reading;
        DemandRecovered(solver.TryRecover(_pointers, _reading, wanted, (nuint)(_hi - _lo)));
    }

    /// <summary>The plan has counted the lost blocks. Were it wrong, the process must end before what was not made is used.</summary>
    private static void DemandRecovered(bool recovered)
    {
        if (!recovered)
        {
            throw new UnreachableException("A row's plan has more lost blocks than parities.");
        }
    }

    /// <summary>Computes the parities of what staging holds.</summary>
    private void Generate()
    {
        PointAt(_lo);
        MakeParities((nuint)(_hi - _lo));
    }

    /// <summary>Computes the parities of the data at the pointers, where those of the parities are.</summary>
    private void MakeParities(nuint length)
    {
        if (_parityCount == 1)
        {
            _kernels.Xor(_pointers, _dataCount, _pointers[_dataCount], length);
        }
        else if (_parityCount == 2)
        {
            _kernels.GeneratePq(_pointers, _dataCount, _pointers[_dataCount], _pointers[_dataCount + 1], length);
        }
        else
        {
            _kernels.Encode(_pointers, null, _dataCount, _pointers + _dataCount, _parityCount, length);
        }
    }

    /// <summary>Copies all new content to staging.</summary>
    private void CopyPieces()
    {
        for (ulong left = _written; left != 0; left &= left - 1)
        {
            int block = BitOperations.TrailingZeroCount(left);
            ref Piece piece = ref _pieces[block];
            byte* to = _blocks[block] + piece.From;
            for (int done = 0, length = piece.To - piece.From; done < length;)
            {
                IoVec run = NextRun(ref piece.Source, length - done);
                Buffer.MemoryCopy(run.Base, to + done, run.Length, run.Length);
                done += (int)run.Length;
            }
        }
    }

    /// <summary>Staging and the parities hold the old content: puts the new in its place and adds the differences.</summary>
    private void ModifyPieces()
    {
        bool hasP = ((_lost >> _dataCount) & 1) == 0;
        bool hasQ = _parityCount > 1 && ((_lost >> (_dataCount + 1)) & 1) == 0;
        for (ulong left = _written; left != 0; left &= left - 1)
        {
            int block = BitOperations.TrailingZeroCount(left);
            ref Piece piece = ref _pieces[block];
            for (int at = piece.From; at < piece.To;)
            {
                IoVec run = NextRun(ref piece.Source, piece.To - at);
                byte* old = _blocks[block] + at;
                byte* p = _blocks[_dataCount] + at;
                if (_parityCount > 2)
                {
                    _kernels.Update(block, run.Base, old, PointAtParities(at, but: _lost), _parityCount, run.Length);
                }
                else if (hasQ)
                {
                    _kernels.UpdatePq(block, run.Base, old, hasP ? p : null, _blocks[_dataCount + 1] + at, run.Length);
                }
                else
                {
                    _kernels.UpdateP(run.Base, old, p, run.Length);
                }

                at += (int)run.Length;
            }
        }
    }

    /// <summary>Every written block is written over all columns: copies and folds in one pass.</summary>
    private void FoldAll()
    {
        int length = _hi - _lo;

        // A block of a failed member is in the parities and goes nowhere, but into the record. The members' own memory is not looked
        // at again, unlike staging, which drives read from and the next row takes.
        _nowhere = _slot is null ? _failed : 0;
        ulong targets = (_written & ~_nowhere) | (AllBlocks & ~_dataMask);
        bool nonTemporal = (targets & ~_inPlace) == 0;
        for (int i = 0; i < _dataCount; i++)
        {
            _runs[i] = default;
        }

        for (int done = 0; done < length;)
        {
            nuint step = NextStep(done, (nuint)(length - done));
            byte* p = _blocks[_dataCount] + _lo + done;
            if (_parityCount == 1)
            {
                _kernels.CopyXor(_sources, _copies, _dataCount, p, step, nonTemporal);
            }
            else if (_parityCount > 2)
            {
                _kernels.Encode(_sources, _copies, _dataCount, PointAtParities(_lo + done, but: 0), _parityCount, step);
            }
            else
            {
                _kernels.CopyPq(_sources, _copies, _dataCount, p, _blocks[_dataCount + 1] + _lo + done, step, nonTemporal);
            }

            for (int i = 0; i < _dataCount; i++)
            {
                _runs[i].Base += step;
                _runs[i].Length -= _runs[i].Length == 0 ? 0 : step;
            }

            done += (int)step;
        }
    }

    /// <summary>
    /// Points at the sources of the next bytes of every data block. Returns how many are contiguous in all of them.
    /// </summary>
    private nuint NextStep(int done, nuint most)
    {
        nuint step = most;
        for (int i = 0; i < _dataCount; i++)
        {
            byte* staging = _blocks[i] + _lo + done;
            if (((_written >> i) & 1) == 0)
            {
                // What was read lies in staging already.
                _sources[i] = staging;
                _copies[i] = null;
                continue;
            }

            if (_runs[i].Length == 0)
            {
                _runs[i] = NextRun(ref _pieces[i].Source, (int)most);
            }

            step = Math.Min(step, _runs[i].Length);
            _sources[i] = _runs[i].Base;
            _copies[i] = ((_nowhere >> i) & 1) == 0 ? staging : null;
        }

        return step;
    }

    private bool PiecesCoverColumns()
    {
        for (ulong left = _written; left != 0; left &= left - 1)
        {
            ref Piece piece = ref _pieces[BitOperations.TrailingZeroCount(left)];
            if (piece.From != _lo || piece.To != _hi)
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Copies the block that was made to the submitter's memory.</summary>
    private void CopyOut()
    {
        byte* from = _blocks[_target] + _lo;
        for (int done = 0, length = _hi - _lo; done < length;)
        {
            IoVec run = _pieces[_target].Source.NextRun(length - done);
            Buffer.MemoryCopy(from + done, run.Base, run.Length, run.Length);
            done += (int)run.Length;
        }
    }

    private IoVec NextRun(ref IoVecCursor source, int most) =>
        _zeroes ? new IoVec(_queue.Zeroes, (nuint)most) : source.NextRun(most);

    /// <summary>Points at a column of the parities, and at nothing for some.</summary>
    private byte** PointAtParities(int column, ulong but)
    {
        for (int block = _dataCount; block < _blockCount; block++)
        {
            _pointers[block] = ((but >> block) & 1) != 0 ? null : _blocks[block] + column;
        }

        return _pointers + _dataCount;
    }

    private void PointAt(int column)
    {
        for (int i = 0; i < _blockCount; i++)
        {
            _pointers[i] = _blocks[i] + column;
        }
    }
}
