// The second ring of a reactor, for devices that are polled for completions (IORING_SETUP_IOPOLL): only reads and writes with
// O_DIRECT to devices with poll queues may use it. All queues of a reactor share one; the first that wants it makes it, the last
// one closes it.

using Polyblk.Core.Reactors;
using Polyblk.Core.Uring;

namespace Polyblk.Drives.Files;

/// <summary>The shared polled ring of the current thread's reactor.</summary>
internal static class IoPollRing
{
    [ThreadStatic]
    private static IoUring? t_ring;

    [ThreadStatic]
    private static int t_users;

    /// <summary>Gets the ring for one more user; null, with a reason, when the kernel gives none.</summary>
    public static IoUring? Acquire(Reactor reactor, out string reason)
    {
        reason = string.Empty;
        if (t_ring is null)
        {
            if (!IoUring.TryCreate(new IoUringOptions { Entries = 256, IoPoll = true }, out IoUring? ring, out reason))
            {
                return null;
            }

            reactor.AddRing(ring!);
            t_ring = ring;
        }

        t_users++;
        return t_ring;
    }

    /// <summary>A user is done; nothing of it is in flight.</summary>
    public static void Release(Reactor reactor)
    {
        if (--t_users == 0)
        {
            reactor.RemoveRing(t_ring!);
            t_ring!.Dispose();
            t_ring = null;
        }
    }
}
