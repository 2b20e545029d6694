// A member is out because its drive does not answer: the row goes on without it, as if the drive had gone.
//
// The request stays with the drive (LateAnswers), which may read or write the block's staging at any time. So the row gets other
// memory as soon as nothing else of it is in flight, and what it has goes with the request. After reads nothing is worth keeping:
// with one block less the plan is another, and all is read anew. After writes, of blocks or records, what was computed is still
// needed, and is copied.

using Polyblk.Core.Block;
using Polyblk.Raid.Map;

namespace Polyblk.Raid.Levels;

internal sealed unsafe partial class ParityRow
{
    /// <summary>Leaves what the row has in flight at a port to its drive. What has to be answered for it is added.</summary>
    public void LeaveRequest(MemberPort port, List<BlockRequest> answers)
    {
        for (int i = 0; i < _requests.Length; i++)
        {
            BlockRequest request = _requests[i];
            bool isThere = request.SentPeriod != 0 && MemberOf(i) == port.Member.Role;
            if (isThere && (!request.HasData || (_freshMemory ??= PagedMemory.TryMake(StagingBytes)) is not null))
            {
                _requests[i] = _queue.LeaveOne(_pool, request, port);
                answers.Add(_requests[i]);
            }
        }
    }

    /// <summary>Nothing of the row is in flight but at drives that are out: these keep the staging that they have.</summary>
    private void ExchangeStaging()
    {
        byte* before = _staging;
        _staging = _freshMemory!.Start;
        if (!_isReading)
        {
            for (int i = 0; i < _blockCount + _parityCount; i++)
            {
                long at = i * _stagingStride;
                Buffer.MemoryCopy(before + at, _staging + at, _hi - _base, _hi - _base);
            }
        }

        for (int block = 0; block < _blockCount; block++)
        {
            if (((_inPlace >> block) & 1) == 0)
            {
                _blocks[block] = StagingOf(block);
            }
        }

        _queue.Late.Keep(_ownMemory ?? (IDisposable)new PooledStaging(before, StagingBytes));
        _ownMemory = _freshMemory;
        _freshMemory = null;
    }

    /// <summary>
    /// A part of the queue's memory that no row uses any more: the queue has it until it closes, its pages go back.
    /// </summary>
    private sealed class PooledStaging(byte* start, long bytes) : IDisposable
    {
        private readonly byte* _start = start;

        public void Dispose() => PagedMemory.Release(_start, bytes);
    }
}
