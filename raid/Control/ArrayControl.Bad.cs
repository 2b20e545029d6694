// Places that members could not write: tried again now and then. A drive may have replaced the block meanwhile, or be
// another one (HotReplacement).

using Polyblk.Raid.Jobs;

namespace Polyblk.Raid.Control;

internal sealed partial class ArrayControl
{
    private readonly Backoff _mendRetry;
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
}
