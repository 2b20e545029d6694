using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Raid.Engine;

/// <summary>
/// Requests that a member answered with a passing error (<see cref="BlockErrorKind.Passing"/>) and that go to it again after a
/// while: at least the delay, at most twice as long. One delay a list, so that one timer is enough and nothing is allocated. One
/// reactor's.
/// </summary>
internal sealed class RetryList(RaidQueue queue, long delayNs) : ReactorTimer
{
    private RequestList _ready, _later;

    /// <summary>Puts a request in.</summary>
    public void Add(BlockRequest request)
    {
        _later.Append(request);
        if (!IsScheduled)
        {
            Arm();
        }
    }

    protected override void OnDue()
    {
        RequestList ready = _ready;
        Arm();
        while (ready.TakeFirst() is { } request)
        {
            queue.SendAgain(request);
        }
    }

    /// <summary>What has waited once is sent when the timer is due next.</summary>
    private void Arm()
    {
        _ready = _later;
        _later = default;
        if (!_ready.IsEmpty)
        {
            queue.Reactor.Schedule(this, queue.Reactor.NowNs + delayNs);
        }
    }
}
