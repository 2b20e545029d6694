// Places that members could not write: told, and tried again now and then. A drive may have replaced the block meanwhile, or be
// another one (HotReplacement).

using Polyblk.Raid.Jobs;
using Polyblk.Raid.Map;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Control;

internal sealed partial class ArrayControl
{
    private readonly Backoff _mendRetry;
    private BadRanges _reportedBad = BadRanges.None;
    private long? _mendAtMs;

    /// <summary>A role has another drive, which may well be able to: tries at once.</summary>
    public void MendSoon()
    {
        _mendRetry.Reset();
        _mendAtMs = NowMs;
    }

    /// <summary>Starts what is to be tried again, when nothing more urgent has the members.</summary>
    private async Task MendTurnAsync()
    {
        if ((_array.State.BadMask & ~_array.State.LostMask) == 0)
        {
            _mendAtMs = null;
            _mendRetry.Reset();
            return;
        }

        _mendAtMs ??= NowMs + _mendRetry.NextMs();
        bool mayRun = _options.Resync && !_array.Limits.ReadOnly && !_array.State.IsBroken && !_jobs.IsBusy && !_reshaping.IsBusy
            && _membership.IsQuiet && !IsResyncDue;
        if (NowMs < _mendAtMs || !mayRun)
        {
            return;
        }

        _mendAtMs = null;
        if (!_superblocks.HasWritten)
        {
            await _superblocks.UpdateAsync();
        }

        if (!_array.State.IsBroken)
        {
            await _jobs.StartAsync(new MendJob(_array), Kick);
        }
    }

    private void ReportBad()
    {
        BadRanges bad = _array.State.Bad;
        if (ReferenceEquals(bad, _reportedBad))
        {
            return;
        }

        foreach (RaidMember member in _array.Members.Where(m => _array.IsUsable(m.Role)))
        {
            long before = _reportedBad.RowsOf(member.Role), now = bad.RowsOf(member.Role);
            if (now > before)
            {
                Report(About(ArrayEventKind.MemberBadRanges, member) with
                {
                    Count = bad.CountOf(member.Role), Fault = member.LastFault,
                });
            }
            else if (now == 0 && before != 0)
            {
                Report(About(ArrayEventKind.MemberBadRangesGone, member));
            }
        }

        _reportedBad = bad;
    }
}
