// Every interleaving of how a queue goes to sleep and a driver decides to kick, on a machine with store buffers (x86-TSO; a store
// may be seen late by others).
//
// The steps of the device are those of Virtqueue.EnableKicks and DisableKicks with the fence P4 (split) or K4 (packed); those of
// the driver are the ones of VIRTIO 1.3, sections 2.7.13 and 2.7.10: it publishes, one request or two at a time, has a fence, and
// reads whether it shall kick. A lost kick is a state in which nothing can move although a request was published and not taken.
// The same explorer must find that state as soon as a fence or the order is taken away: otherwise it would prove nothing.

namespace Polyblk.Virtio.Tests;

public sealed class KickModelTests
{
    private const int Requests = 4;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void NoInterleavingLosesAKick(bool eventIdx) => Assert.Null(FindLostKick(new Protocol(eventIdx)));

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void WithoutTheDevicesFenceAKickIsLost(bool eventIdx) => Assert.NotNull(FindLostKick(new Protocol(eventIdx) { DeviceFence = false }));

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void WithoutTheDriversFenceAKickIsLost(bool eventIdx) => Assert.NotNull(FindLostKick(new Protocol(eventIdx) { DriverFence = false }));

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void LookingBeforeKicksAreEnabledLosesAKick(bool eventIdx) => Assert.NotNull(FindLostKick(new Protocol(eventIdx) { LooksFirst = true }));

    private static State? FindLostKick(Protocol protocol)
    {
        var seen = new HashSet<State>();
        var open = new Stack<State>();
        open.Push(protocol.Start);
        while (open.TryPop(out State state))
        {
            if (!seen.Add(state))
            {
                continue;
            }

            State[] next = [.. protocol.DeviceSteps(state), .. protocol.DriverSteps(state)];
            if (next.Length == 0 && state.Taken < Requests)
            {
                return state;
            }

            foreach (State s in next)
            {
                open.Push(s);
            }
        }

        return null;
    }

    private enum DeviceStep
    {
        Enable,
        Fence,
        Look,
        Block,
        Disable,
        Take,
    }

    private enum DriverStep
    {
        Publish,
        Fence,
        ReadEvent,
        Kick,
    }

    /// <param name="Device">The device's next step.</param>
    /// <param name="Event">avail_event in memory, or 1 where kicks are enabled by the flag.</param>
    /// <param name="EventInBuffer">The device's store of it that others do not see yet, if any.</param>
    /// <param name="Taken">Requests that the device has taken.</param>
    /// <param name="Doorbell">Whether the eventfd was written since the device last slept.</param>
    /// <param name="Driver">The driver's next step.</param>
    /// <param name="Index">avail.idx in memory.</param>
    /// <param name="IndexInBuffer">The driver's store of it that the device does not see yet, if any.</param>
    /// <param name="Old">What the driver had published before.</param>
    /// <param name="New">What it has published.</param>
    private readonly record struct State(
        DeviceStep Device, ushort Event, ushort? EventInBuffer, ushort Taken, bool Doorbell, DriverStep Driver, ushort Index, ushort? IndexInBuffer, ushort Old, ushort New);

    private sealed record Protocol(bool EventIdx)
    {
        public bool DeviceFence { get; init; } = true;

        public bool DriverFence { get; init; } = true;

        public bool LooksFirst { get; init; }

        public State Start => new(LooksFirst ? DeviceStep.Look : DeviceStep.Enable, Disabled(0), null, 0, false, DriverStep.Publish, 0, null, 0, 0);

        public IEnumerable<State> DeviceSteps(State s)
        {
            if (s.EventInBuffer is ushort stored)
            {
                yield return s with { Event = stored, EventInBuffer = null };
            }

            switch (s.Device)
            {
                case DeviceStep.Enable when s.EventInBuffer is null:
                    yield return s with { EventInBuffer = EventIdx ? s.Taken : (ushort)1, Device = DeviceStep.Fence };
                    break;
                case DeviceStep.Fence when s.EventInBuffer is null || !DeviceFence:
                    // Mutated: it has looked already, and sleeps.
                    yield return s with { Device = LooksFirst ? DeviceStep.Block : DeviceStep.Look };
                    break;
                case DeviceStep.Look:
                    yield return s with { Device = s.Index != s.Taken ? DeviceStep.Disable : LooksFirst ? DeviceStep.Enable : DeviceStep.Block };
                    break;
                case DeviceStep.Block when s.Doorbell:
                    yield return s with { Doorbell = false, Device = DeviceStep.Disable };
                    break;
                case DeviceStep.Disable when s.EventInBuffer is null:
                    yield return s with { EventInBuffer = Disabled(s.Taken), Device = DeviceStep.Take };
                    break;
                case DeviceStep.Take:
                    yield return s with { Taken = s.Index, Device = LooksFirst ? DeviceStep.Look : DeviceStep.Enable };
                    break;
            }
        }

        public IEnumerable<State> DriverSteps(State s)
        {
            if (s.IndexInBuffer is ushort stored)
            {
                yield return s with { Index = stored, IndexInBuffer = null };
            }

            switch (s.Driver)
            {
                case DriverStep.Publish when s.IndexInBuffer is null:
                    for (int count = 1; count <= Math.Min(2, Requests - s.New); count++)
                    {
                        ushort next = (ushort)(s.New + count);
                        yield return s with { Old = s.New, New = next, IndexInBuffer = next, Driver = DriverStep.Fence };
                    }

                    break;
                case DriverStep.Fence when s.IndexInBuffer is null || !DriverFence:
                    yield return s with { Driver = DriverStep.ReadEvent };
                    break;
                case DriverStep.ReadEvent:
                    yield return s with { Driver = WantsKick(s) ? DriverStep.Kick : DriverStep.Publish };
                    break;
                case DriverStep.Kick:
                    yield return s with { Doorbell = true, Driver = DriverStep.Publish };
                    break;
            }
        }

        /// <summary>vring_need_event (section 2.7.10), or the flag.</summary>
        private bool WantsKick(State s) => EventIdx ? (ushort)(s.New - s.Event - 1) < (ushort)(s.New - s.Old) : s.Event != 0;

        /// <summary>An event index that was passed already, or the flag.</summary>
        private ushort Disabled(ushort taken) => EventIdx ? (ushort)(taken - 1) : (ushort)0;
    }
}
