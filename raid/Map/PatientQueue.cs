using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Raid.Map;

/// <summary>
/// A drive's queue for work that is not sent again from above: what ends with a passing error goes there again every few
/// milliseconds, as long as a request is tried at all (about 2.5 s). One reactor's.
/// </summary>
internal sealed class PatientQueue(MemberPort port, Reactor reactor) : ReactorTimer, IDisposable
{
    private const long DelayNs = 20_000_000;
    private const byte MostTries = 125;

    private RequestList _again;

    /// <summary>Sends a request, whose submitter asks <see cref="ComesAgain"/> when it is back.</summary>
    public void Submit(BlockRequest request)
    {
        request.Tries = 0;
        port.Submit(request);
    }

    /// <summary>A request is back. Returns true when it goes there again: it is not done then.</summary>
    public bool ComesAgain(BlockRequest request)
    {
        port.TakeBack(request);
        if (BlockErrors.KindOf(request.Status) != BlockErrorKind.Passing || request.Tries >= MostTries || !BlockErrors.MayRepeat(request))
        {
            return false;
        }

        request.Tries++;
        port.Waiting++;
        _again.Append(request);
        if (!IsScheduled)
        {
            reactor.Schedule(this, reactor.NowNs + DelayNs);
        }

        return true;
    }

    public void Dispose() => reactor.Cancel(this);

    protected override void OnDue()
    {
        RequestList again = _again;
        _again = default;
        while (again.TakeFirst() is { } request)
        {
            port.Waiting--;
            request.Status = 0;
            port.Submit(request);
        }
    }
}
