// One reactor's way to one member: everything that a queue of an array sends to a drive goes through here.
//
// Theory of operation. A port counts what is in flight by periods of a second (ArrayState.Seconds, which the control task moves
// on), so the age of the oldest request is known without a clock and without a list: a request is counted in the period that was
// current when it was sent, and a period is used again when nothing of it is in flight. When all but the current one hold
// requests that do not come back, the current one simply goes on; the age is then too old by what it lasted, of a drive that
// hangs anyway.
//
// That age is too old where a period lasted longer. Who is given up for it must not be given up too early: the last request of a
// period is known, too (SurelySeconds).
//
// A drive that does not answer is left (Leave): what is asked of it from then on ends with an error at once, and its queue is
// closed with the port, which waits until all is back.
//
// A port can be given another queue while requests are in flight (Exchange): what was sent by the queue before is counted apart,
// in the other half of the periods, and the port is settled when all of it is back.

using System.Diagnostics;
using System.Runtime.CompilerServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;

namespace Polyblk.Raid.Map;

/// <summary>See the top of the file. One reactor's; <see cref="OldestSeconds"/> may be read by any thread.</summary>
internal sealed class MemberPort(RaidMember member, ArrayState state, IBlockQueue queue, Reactor reactor)
{
    private const int Periods = 8;

    private readonly int[] _inFlight = new int[(2 * Periods) + 1];
    private readonly int[] _began = new int[(2 * Periods) + 1];
    private readonly int[] _lasted = new int[(2 * Periods) + 1];
    private int _current = 1;
    private int _half;
    private PortMeter _meter = new(reactor);

    /// <summary>The member.</summary>
    public RaidMember Member { get; private set; } = member;

    /// <summary>The drive's queue, or the twin of two drives'.</summary>
    public IBlockQueue Queue { get; private set; } = queue;

    /// <summary>The twin that was the queue before, and is not closed yet. Any thread may ask whether there is one.</summary>
    public TwinQueue? Retired { get; set; }

    /// <summary>The drive's queue, where the drive was left.</summary>
    public IBlockQueue? Left { get; private set; }

    /// <summary>The drive gets nothing from here any more; what it has stays with it.</summary>
    public void Leave()
    {
        Left = Queue;
        Queue = new RefusingQueue(Errno.ENODEV);
    }

    /// <summary>
    /// How often the drive has changed, going around: tells an error of this one from one of a drive before it.
    /// </summary>
    public byte DriveNumber { get; private set; }

    /// <summary>The way belongs to another member from now on, whose drive it goes to already.</summary>
    public void Move(RaidMember to)
    {
        Member.Remove(this);
        Member = to;
        DriveNumber++;
        Volatile.Write(ref _meter, new PortMeter(reactor));
        to.Add(this);
    }

    /// <summary>Sends by another queue from now on. All that was sent before the last exchange is back.</summary>
    public void Exchange(IBlockQueue next)
    {
        Debug.Assert(IsSettled, "two exchanges at once");
        Volatile.Write(ref _half, Periods - _half);
        Queue = next;
        _current = NextPeriod(_half + 1, state.Seconds);
    }

    /// <summary>Sends by the queue again that it had before the last exchange, which need not be settled.</summary>
    public void Return(IBlockQueue former) => Queue = former;

    /// <summary>Whether all that was sent by the queue before this one is back. Any thread.</summary>
    public bool IsSettled
    {
        get
        {
            int other = Periods - Volatile.Read(ref _half);
            int sum = 0;
            for (int i = 1; i <= Periods; i++)
            {
                sum += Volatile.Read(ref _inFlight[other + i]);
            }

            return sum == 0;
        }
    }

    /// <summary>Sends a request to the drive.</summary>
    public void Submit(BlockRequest request)
    {
        int period = _current;
        int now = state.Seconds;
        if (_began[period] != now)
        {
            period = NextPeriod(period, now);
        }

        _inFlight[period]++;
        request.SentPeriod = (byte)period;
        _meter.Sent(request);
        Queue.Submit(request);
    }

    /// <summary>A request is back. Returns false when it had not been at the drive.</summary>
    public bool TakeBack(BlockRequest request)
    {
        int period = request.SentPeriod;
        if (period == 0)
        {
            return false;
        }

        request.SentPeriod = 0;
        _inFlight[period]--;
        _meter.Back(request);
        if (request.Status != 0)
        {
            NoteFault(request);
        }
        else if (request.Operation == BlockOperation.Read)
        {
            Member.CountRead();
        }

        return true;
    }

    /// <summary>A request is back for which nobody waits (<see cref="LateAnswers"/>).</summary>
    public void TakeBackLate(BlockRequest request)
    {
        _inFlight[request.SentPeriod]--;
        request.SentPeriod = 0;
        _meter.Back(request);
    }

    /// <summary>When the period began in which a request was sent that is at the drive.</summary>
    public int SentSeconds(BlockRequest request) => _began[request.SentPeriod];

    /// <summary>Errors that say something of the drive are kept for whoever has to pull it.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private void NoteFault(BlockRequest request)
    {
        if (Left is null && BlockErrors.KindOf(request.Status) is not (BlockErrorKind.Memory or BlockErrorKind.Unsupported))
        {
            Member.NoteFault(new BlockFault(request.Operation, request.OffsetBytes, request.LengthBytes, -request.Status));
        }
    }

    /// <summary>
    /// Since which second the oldest request in flight has been there; <see cref="int.MaxValue"/> without one. Any thread.
    /// </summary>
    public int OldestSeconds() => Oldest(_began);

    /// <summary>
    /// The same, but not earlier than it was: a request in flight has surely been there since then. Any thread.
    /// </summary>
    public int SurelySeconds() => Oldest(_lasted);

    private int Oldest(int[] seconds)
    {
        int oldest = int.MaxValue;
        for (int i = 1; i <= 2 * Periods; i++)
        {
            if (Volatile.Read(ref _inFlight[i]) > 0)
            {
                oldest = Math.Min(oldest, Volatile.Read(ref seconds[i]));
            }
        }

        return oldest;
    }

    /// <summary>What was asked of the drive and answered. Any thread.</summary>
    public MemberTraffic Traffic => _meter.Read();

    /// <summary>Requests that wait to be sent to the drive again. Any thread may read it.</summary>
    public int Waiting { get; set; }

    /// <summary>Requests that are at the drive. Any thread.</summary>
    public int InFlight
    {
        get
        {
            int sum = 0;
            for (int i = 1; i <= 2 * Periods; i++)
            {
                sum += Volatile.Read(ref _inFlight[i]);
            }

            return sum;
        }
    }

    private int NextPeriod(int current, int now)
    {
        for (int i = 0; i < Periods; i++)
        {
            int period = _half + ((current - 1 + i) % Periods) + 1;
            if (_inFlight[period] == 0)
            {
                Volatile.Write(ref _began[period], now);
                Volatile.Write(ref _lasted[period], now);
                _current = period;
                return period;
            }
        }

        Volatile.Write(ref _lasted[current], now);
        return current;
    }
}
