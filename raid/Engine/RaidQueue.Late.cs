// A drive that does not answer is left: what it has in flight from this queue counts as answered with an error, as if the drive
// had gone, and the drive gets nothing more. On the reactor's thread, asked for when the member is out (MemberWatch).
//
// What is left to it (LateAnswers): what has no memory (flushes, discards, zeroing); what has memory of the array's own, which is
// exchanged for other (rows, copies); and writes out of a submitter's memory, where he can lend that memory beyond their end
// (IMemoryLender). Reads into a submitter's memory are waited for: the drive may write there at any time, and the submitter would
// find there what nobody has read.
//
// Reads and writes that wait to be sent again come back with an error when they are.

using Polyblk.Core.Block;
using Polyblk.Raid.Map;

namespace Polyblk.Raid.Engine;

internal abstract unsafe partial class RaidQueue
{
    /// <summary>What drives that are out have still, and nobody waits for.</summary>
    internal LateAnswers Late { get; }

    /// <summary>Completes when the queue is disposed and its own work is done, whatever drives that are out have still.</summary>
    internal Task WorkEnded => _workEnded.Task;

    /// <summary>
    /// A member is out because its drive does not answer: whatever waits for it goes on without. Allocates.
    /// </summary>
    internal void Leave(int role)
    {
        if (MemberQueues[role] is not { Left: null, Retired: null } port || port.Queue is TwinQueue)
        {
            return;
        }

        port.Leave();
        var answers = new List<BlockRequest>();
        try
        {
            LeaveRequests(port, answers);
        }
        finally
        {
            Answer(answers, 0);
        }
    }

    /// <summary>Each on its own: what took a place is answered whatever became of the others.</summary>
    private static void Answer(List<BlockRequest> answers, int next)
    {
        try
        {
            while (next < answers.Count)
            {
                answers[next++].Complete(-Errno.ENODEV);
            }
        }
        finally
        {
            if (next < answers.Count)
            {
                Answer(answers, next);
            }
        }
    }

    /// <summary>Leaves what is in flight at a port to its drive, as far as that may be.</summary>
    /// <param name="port">The port.</param>
    /// <param name="answers">Gets what took the place of each request, to be completed.</param>
    protected virtual void LeaveRequests(MemberPort port, List<BlockRequest> answers)
    {
        BlockRequest[] children = Children.Requests.ToArray();
        foreach (BlockRequest child in children)
        {
            if (!IsAt(child, port))
            {
                continue;
            }

            NoteOverdue(child, port);
            if (TryLendMemory(child, out IDisposable? lent))
            {
                answers.Add(Late.Leave(Children, child, port));
                if (lent is not null)
                {
                    Late.Keep(lent);
                }
            }
        }
    }

    /// <summary>Leaves a request that is at a port's drive to it. Returns what takes its place.</summary>
    internal BlockRequest LeaveOne(RequestPool pool, BlockRequest request, MemberPort port)
    {
        NoteOverdue(request, port);
        return Late.Leave(pool, request, port);
    }

    private static void NoteOverdue(BlockRequest request, MemberPort port) => port.Member.NoteOverdue(
        port.SentSeconds(request),
        new BlockFault(request.Operation, request.OffsetBytes, request.LengthBytes, Errno.ETIMEDOUT));

    private static bool IsAt(BlockRequest child, MemberPort port) =>
        child.SentPeriod != 0 && (int)(child.Tag & MemberMask) == port.Member.Role;

    /// <summary>Whether the memory of a child stays for as long as the drive has it, and what gives it back then.</summary>
    private static bool TryLendMemory(BlockRequest child, out IDisposable? lent)
    {
        lent = null;
        if (!child.HasData)
        {
            return true;
        }

        if (child.Operation == BlockOperation.Read)
        {
            return false;
        }

        BlockRequest parent = child.Parent ?? ((TransferOp)child.Context!).Parent;
        lent = (parent.Completion as IMemoryLender)?.Lend(parent);
        if (lent is null)
        {
            return false;
        }

        if (child.Vectors != child.OwnVectors)
        {
            // The list is the submitter's, and not lent.
            new ReadOnlySpan<IoVec>(child.Vectors, child.VectorCount)
                .CopyTo(new Span<IoVec>(child.OwnVectors, child.OwnVectorCapacity));
            child.Vectors = child.OwnVectors;
        }

        return true;
    }
}
