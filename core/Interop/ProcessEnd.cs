using Polyblk.Core.Block;
using Tmds.Linux;

namespace Polyblk.Core.Interop;

/// <summary>
/// Waits for the end of any process, child or not: pidfd_open(2), since Linux 5.3. (The framework looks for others than children
/// every tenth of a second; so does this where the kernel, or a filter, has no such call.)
/// </summary>
public static class ProcessEnd
{
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(100);

    /// <summary>Finishes when there is no such process any more.</summary>
    /// <param name="pid">The process.</param>
    public static Task WaitAsync(int pid) => Task.Factory.StartNew(
        () => Wait(pid), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    private static unsafe void Wait(int pid)
    {
        int fd = Libc.pidfd_open(pid, 0);
        if (fd < 0)
        {
            // ESRCH among them: it is gone already.
            while (Libc.kill(pid, 0) != -Errno.ESRCH)
            {
                Thread.Sleep(s_look);
            }

            return;
        }

        var poll = new pollfd { fd = fd, events = Libc.POLLIN };
        while (Libc.poll(&poll, 1, -1) < 0)
        {
            // Interrupted; the descriptor is ours, and nothing else can go wrong for good.
            Thread.Sleep(s_look);
        }

        _ = Libc.close(fd);
    }
}
