// What becomes of a child that a member answered with an error: it is sent again, or the place counts as bad on the members that
// refused a write, or they are given up, or the request fails and the place is in doubt.
//
// A write that several members carry is judged when all of them have answered, still under its lock: the members that refused it
// are given up together, or, when that would lose data, not one of them. A path that fails for all drives at once so costs
// requests, and no drive. A member that may just have a place that it cannot write (BlockErrors.MayBeOfPlace) is not given up: it
// is lost there alone (ArrayState.TryAddBad).
//
// What a drive refuses together with a flush (FUA) may be the flush, and then nobody knows what it has lost. So such a write is
// sent again without: refused again it is the place; taken, it was perhaps the flush, which costs the member.

using System.Numerics;
using System.Runtime.CompilerServices;
using Polyblk.Core.Block;
using Polyblk.Raid.Map;

namespace Polyblk.Raid.Engine;

internal abstract unsafe partial class RaidQueue
{
    /// <summary>
    /// How long to wait before each time that a request is sent again. Together about 2.5 s, far below what guests wait for a
    /// disk.
    /// </summary>
    private static readonly long[] s_retryDelaysNs =
        [1_000_000, 4_000_000, 16_000_000, 64_000_000, 256_000_000, 1_000_000_000, 1_000_000_000];

    /// <summary>Reads try less often where there is another way to the data.</summary>
    private const int ReadTries = 4;

    /// <summary>How often a write is sent again of which the place may be bad.</summary>
    private const int PlaceTries = 2;

    /// <summary>In <see cref="BlockRequest.Tries"/>: it was refused with FUA, and sent again without.</summary>
    private const byte WithoutFua = 0x80;

    /// <summary>What a write ends with that was refused with FUA only: that is not the place.</summary>
    private const int NotFlushed = -Errno.ECANCELED;

    /// <summary>The bits of a child's tag that name its member.</summary>
    protected const long MemberMask = 0xFF;

    private readonly RetryList?[] _retries = new RetryList?[s_retryDelaysNs.Length];

    /// <summary>
    /// A request is back from a member. Returns true when it goes there again, because the error may pass: it is not done then.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool ComesAgain(MemberPort port, BlockRequest request) =>
        port.TakeBack(request) && (request.Status | request.Tries) != 0 && TryAgain(port, request);

    /// <summary>A request has waited long enough.</summary>
    internal void SendAgain(BlockRequest request)
    {
        MemberPort port = MemberQueues[request.RetryMember]!;
        port.Waiting--;
        if (request.RetryDrive != port.DriveNumber)
        {
            BeginAnew(request);
        }

        port.Submit(request);
    }

    /// <summary>What a drive has refused says nothing of the one that has its place by now.</summary>
    private static void BeginAnew(BlockRequest request)
    {
        request.Flags |= (request.Tries & WithoutFua) != 0 ? BlockFlags.Fua : 0;
        request.Tries = 0;
    }

    private bool TryAgain(MemberPort port, BlockRequest request)
    {
        if ((request.Tries & WithoutFua) != 0 && request.Status == 0)
        {
            if (request.RetryDrive != port.DriveNumber)
            {
                // It was replaced meanwhile, and the new drive has not been asked to flush.
                BeginAnew(request);
                SendLater(port, request, tries: 0);
                return true;
            }

            request.Status = NotFlushed;
        }
        else if (request.Operation == BlockOperation.Write && BlockErrors.MayBeOfPlace(request.Status)
            && TryPlaceAgain(port, request))
        {
            return true;
        }

        int most = request.Operation == BlockOperation.Read && Array.TracksDirt ? ReadTries : s_retryDelaysNs.Length;
        if (request.Status == 0 || BlockErrors.KindOf(request.Status) != BlockErrorKind.Passing || request.Tries >= most
            || !BlockErrors.MayRepeat(request) || IsFailed(port.Member.Role) || State.IsBroken)
        {
            request.Tries = 0;
            return false;
        }

        SendLater(port, request, request.Tries);
        return true;
    }

    private bool TryPlaceAgain(MemberPort port, BlockRequest request)
    {
        int tries = request.Tries & ~WithoutFua;
        if (!Array.TracksDirt || tries >= PlaceTries || IsFailed(port.Member.Role) || State.IsBroken)
        {
            return false;
        }

        request.Tries |= (request.Flags & BlockFlags.Fua) != 0 ? WithoutFua : (byte)0;
        request.Flags &= ~BlockFlags.Fua;
        SendLater(port, request, tries);
        return true;
    }

    private void SendLater(MemberPort port, BlockRequest request, int tries)
    {
        request.RetryMember = (byte)port.Member.Role;
        request.RetryDrive = port.DriveNumber;
        request.Tries++;
        port.Waiting++;
        _retries[tries]!.Add(request);
    }

    private void MakeRetryLists()
    {
        for (int i = 0; i < _retries.Length; i++)
        {
            _retries[i] = new RetryList(this, s_retryDelaysNs[i]);
        }
    }

    /// <summary>
    /// Notes that a member refused a part of an operation that other members carry, too: judged when all of them have answered.
    /// The part counts as done.
    /// </summary>
    protected void NoteRefusal(BlockRequest child, int member)
    {
        Unsafe.As<TransferOp>(child.Context!).Refusals.Note(Array.Members[member], child);
        child.Status = 0;
    }

    /// <summary>All members have answered a segment, and some refused it. The lock is still held.</summary>
    private void JudgeRefusals(TransferOp operation)
    {
        if (operation.Parent.Operation == BlockOperation.Flush)
        {
            // What such a member had taken is lost somewhere: room or not, it does not agree with the others any more.
            operation.Refusals.Refused |= operation.Refusals.NoSpace;
            operation.Refusals.NoSpace = 0;
        }

        ulong inDoubt = operation.Refusals.NoSpace;
        int status = inDoubt != 0 ? -Errno.ENOSPC : 0;
        if (operation.Refusals.Refused != 0 && !GiveUpWhatRefused(operation))
        {
            inDoubt |= operation.Refusals.Refused & ~State.FailedMask;
            status = -Errno.EIO;
        }

        operation.Refusals = default;
        operation.RefusedFrom = long.MaxValue;
        operation.RefusedTo = 0;

        // Also where all that refused are out by now: those that stay may lack the place.
        operation.Status = operation.Status == 0 ? status : operation.Status;
        if (inDoubt == 0)
        {
            return;
        }

        if (operation.IsFlush)
        {
            FlushLost(inDoubt);
        }
        else if (!State.IsBroken)
        {
            PutInDoubt(operation, inDoubt);
        }
    }

    private bool GiveUpWhatRefused(TransferOp operation) => operation.IsFlush
        ? GiveUp(operation.Refusals.Refused, operation.Refusals.Gone)
        : GiveUpAt(
            operation.RefusedFrom >> LockShift,
            (operation.RefusedTo - 1) >> LockShift,
            operation.Refusals.Refused,
            operation.Refusals.Gone,
            operation.Refusals.AtPlace);

    /// <summary>
    /// Gives up the members that refused to write a range, there alone where that is enough. Returns false when that would lose
    /// data: then only those are given up that are gone. Some of the range is locked.
    /// </summary>
    /// <param name="first">The first unit of the range.</param>
    /// <param name="last">The last unit.</param>
    /// <param name="refused">The members, one bit each, by role.</param>
    /// <param name="gone">Those that are gone.</param>
    /// <param name="atPlace">Those of which only the place need be bad.</param>
    internal bool GiveUpAt(long first, long last, ulong refused, ulong gone, ulong atPlace)
    {
        // Others may lack the place: then it makes no difference that the level survives without these elsewhere.
        if (State.BadMask != 0 && !State.SurvivesWithout(State.LostMask | State.BadIn(first, last) | refused))
        {
            GiveUp(gone, gone);
            return false;
        }

        // One that is being rebuilt is not worth a list.
        ulong rest = refused & ~(Array.Reshape is null ? atPlace & ~State.LostMask : 0);
        if (rest != 0 && !State.TryFailAll(rest))
        {
            return GiveUp(refused, gone);
        }

        BadOutcome outcome = rest == refused ? BadOutcome.Recorded : State.TryAddBad(first, last, refused & ~rest);
        if (outcome == BadOutcome.NoRoom)
        {
            return GiveUp(refused, gone);
        }

        Array.Control.Kick();
        return outcome == BadOutcome.Recorded;
    }

    /// <summary>
    /// Gives up the members that refused a write or flush. Returns false when that would lose data: then only those are given up
    /// that are gone, and the array breaks when it cannot do without one of them.
    /// </summary>
    internal bool GiveUp(ulong refused, ulong gone)
    {
        bool all = State.TryFailAll(refused);
        for (ulong left = all ? 0 : gone; left != 0; left &= left - 1)
        {
            int member = BitOperations.TrailingZeroCount(left);
            if (!State.TryFail(member))
            {
                // Should it come back, what was in its cache may be missing.
                State.Distrust(1UL << member);
            }
        }

        Array.Control.Kick();
        return all;
    }

    /// <summary>
    /// Members that the array cannot do without could not flush: what they had taken may be lost anywhere, and the others have
    /// it.
    /// </summary>
    private void FlushLost(ulong members)
    {
        State.NoteLostFlush();
        if (!Array.TracksDirt)
        {
            // No redundancy that could disagree: the error says it all.
            return;
        }

        ulong needed = Geometry.HasParity ? State.BesideLost(members) : 0;
        if (needed != 0)
        {
            // What is made for the lost member needs what may be lost.
            State.Distrust(needed);
        }

        if (needed != members)
        {
            State.LowerSynced(0);
            State.LoseTrust();
        }

        Array.Control.Kick();
    }

    /// <summary>Some members have a segment and others refused it, and all stay: levels with copies make them agree.</summary>
    /// <param name="operation">The operation; its range is locked.</param>
    /// <param name="refused">The members that refused it.</param>
    protected virtual void PutInDoubt(TransferOp operation, ulong refused)
    {
    }
}
