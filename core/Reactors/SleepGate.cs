// The agreement between a reactor that goes to sleep and a thread that posts to it: no wake-up is ever lost, and a reactor that
// is awake costs a sender no system call.
//
//     reactor                                sender
//     A1  asleep = 1                         B1  put work where the reactor looks
//     A2  full fence                         B2  full fence
//     A3  look for work; if some: asleep = 0 B3  if asleep was 1: set it to 0 and ring the doorbell
//     A4  block on the doorbell
//
// If A3 does not see the work of B1, then B1 comes after A3 in the order of the two fences, so A1 comes before B3, which sees 1
// and rings. The doorbell is an eventfd: rung before A4 it makes A4 return at once. tests/core explores every interleaving of
// this.

namespace Polyblk.Core.Reactors;

/// <summary>The sleep flag of a reactor, and its protocol.</summary>
internal sealed class SleepGate
{
    private int _asleep;

    /// <summary>A1 and A2. The caller then looks for work, and either blocks or calls <see cref="Leave"/>.</summary>
    public void Enter()
    {
        Volatile.Write(ref _asleep, 1);
        Interlocked.MemoryBarrier();
    }

    /// <summary>The reactor is awake again, however that came about.</summary>
    public void Leave() => Volatile.Write(ref _asleep, 0);

    /// <summary>B3, after a full fence: whether the caller must ring the doorbell. Of several senders one gets true.</summary>
    public bool MustRing() => Volatile.Read(ref _asleep) != 0 && Interlocked.Exchange(ref _asleep, 0) != 0;
}
