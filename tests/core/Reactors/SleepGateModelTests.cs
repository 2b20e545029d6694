// Every interleaving of the sleep gate's protocol, on a machine with store buffers (x86-TSO; a store may be seen late by others).
//
// The steps are those of SleepGate.cs: A1 to A4 of the reactor, B1 to B3 of each sender. A lost wake-up is a state in which
// nothing can move although work is waiting. The same explorer must find that state as soon as a fence or the order is taken
// away: otherwise it would prove nothing.

using Polyblk.Core.Reactors;

namespace Polyblk.Core.Tests.Reactors;

public sealed class SleepGateModelTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void NoInterleavingLosesAWakeUp(int senders) => Assert.Null(FindLostWakeUp(new Protocol(), senders));

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void WithoutTheReactorsFenceAWakeUpIsLost(int senders) =>
        Assert.NotNull(FindLostWakeUp(new Protocol { ReactorFence = false }, senders));

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void WithoutTheSendersFenceAWakeUpIsLost(int senders) =>
        Assert.NotNull(FindLostWakeUp(new Protocol { SenderFence = false }, senders));

    [Fact]
    public void LookingBeforeAnnouncingSleepLosesAWakeUp() => Assert.NotNull(FindLostWakeUp(new Protocol { LooksFirst = true }, 1));

    [Fact]
    public void OfSeveralSendersOneRings()
    {
        var gate = new SleepGate();
        Assert.False(gate.MustRing());
        gate.Enter();
        Assert.True(gate.MustRing());
        Assert.False(gate.MustRing());
        gate.Enter();
        gate.Leave();
        Assert.False(gate.MustRing());
    }

    private static State? FindLostWakeUp(Protocol protocol, int senders)
    {
        var seen = new HashSet<State>();
        var open = new Stack<State>();
        open.Push(new State(ReactorStep.Announce, 0, 0, 0, 0, 0, false));
        while (open.TryPop(out State state))
        {
            if (!seen.Add(state))
            {
                continue;
            }

            List<State> next = [.. protocol.ReactorSteps(state), .. Enumerable.Range(0, senders).SelectMany(i => protocol.SenderSteps(state, i))];
            if (next.Count == 0 && state.Taken < senders)
            {
                return state;
            }

            next.ForEach(open.Push);
        }

        return null;
    }

    private enum ReactorStep
    {
        Announce,
        Fence,
        Look,
        Block,
        Leave,
    }

    /// <param name="Reactor">The reactor's next step.</param>
    /// <param name="Asleep">The flag in memory.</param>
    /// <param name="Work">Work that the reactor can see.</param>
    /// <param name="Taken">Work that it has taken.</param>
    /// <param name="Doorbell">Whether the eventfd was rung.</param>
    /// <param name="Senders">Four bits for each sender: its next step, and whether its work is still in its store buffer.</param>
    /// <param name="Buffered">Whether the reactor's store of 1 is still in its store buffer.</param>
    private readonly record struct State(ReactorStep Reactor, int Asleep, int Work, int Taken, int Doorbell, int Senders, bool Buffered)
    {
        public (int Step, bool Buffered) Sender(int i) => ((Senders >> (i * 4)) & 7, ((Senders >> (i * 4)) & 8) != 0);

        public State WithSender(int i, int step, bool buffered) =>
            this with { Senders = (Senders & ~(15 << (i * 4))) | ((step | (buffered ? 8 : 0)) << (i * 4)) };
    }

    private sealed record Protocol
    {
        private const int Put = 0, Fence = 1, ReadFlag = 2, Exchange = 3, Ring = 4, Done = 5;

        public bool ReactorFence { get; init; } = true;

        public bool SenderFence { get; init; } = true;

        public bool LooksFirst { get; init; }

        public IEnumerable<State> ReactorSteps(State s)
        {
            if (s.Buffered)
            {
                yield return s with { Asleep = 1, Buffered = false };
            }

            switch (s.Reactor)
            {
                case ReactorStep.Announce when LooksFirst:
                    // Mutated: the look comes first, then the flag, then sleep.
                    yield return s.Work > 0 ? s with { Reactor = ReactorStep.Leave } : s with { Reactor = ReactorStep.Fence };
                    break;
                case ReactorStep.Announce:
                    yield return s with { Buffered = true, Reactor = ReactorStep.Fence };
                    break;
                case ReactorStep.Fence when LooksFirst:
                    yield return s with { Asleep = 1, Reactor = ReactorStep.Block };
                    break;
                case ReactorStep.Fence when !s.Buffered || !ReactorFence:
                    yield return s with { Reactor = ReactorStep.Look };
                    break;
                case ReactorStep.Look:
                    yield return s with { Reactor = s.Work > 0 ? ReactorStep.Leave : ReactorStep.Block };
                    break;
                case ReactorStep.Block when s.Doorbell != 0:
                    yield return s with { Doorbell = 0, Reactor = ReactorStep.Leave };
                    break;
                case ReactorStep.Leave:
                    yield return s with { Asleep = 0, Buffered = false, Taken = s.Taken + s.Work, Work = 0, Reactor = ReactorStep.Announce };
                    break;
            }
        }

        public IEnumerable<State> SenderSteps(State s, int i)
        {
            (int step, bool buffered) = s.Sender(i);
            if (buffered)
            {
                yield return (s with { Work = s.Work + 1 }).WithSender(i, step, buffered: false);
            }

            switch (step)
            {
                case Put:
                    yield return s.WithSender(i, Fence, buffered: true);
                    break;
                case Fence when !buffered || !SenderFence:
                    yield return s.WithSender(i, ReadFlag, buffered);
                    break;
                case ReadFlag:
                    yield return s.WithSender(i, s.Asleep != 0 ? Exchange : Done, buffered);
                    break;
                case Exchange when !buffered:
                    yield return (s with { Asleep = 0 }).WithSender(i, s.Asleep != 0 ? Ring : Done, buffered: false);
                    break;
                case Ring:
                    yield return (s with { Doorbell = 1 }).WithSender(i, Done, buffered: false);
                    break;
            }
        }
    }
}
