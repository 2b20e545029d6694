using Polyblk.Core.Block;
using Tmds.Linux;

namespace Polyblk.Core.Interop;

/// <summary>
/// Waits for the end of any process, child or not: pidfd_open(2), since Linux 5.3. (The framework looks for others than children
/// every tenth of a second.)
/// </summary>
public static class ProcessEnd
{
    /// <summary>Finishes when there is no such process any more.</summary>
    /// <param name="pid">The process.</param>
    /// <exception cref="IOException">It cannot be watched.</exception>
    public static Task WaitAsync(int pid) => Task.Factory.StartNew(
        () => Wait(pid), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    private static unsafe void Wait(int pid)
    {
        int fd = Libc.pidfd_open(pid, 0);
        if (fd == -Errno.ESRCH)
        {
            return;
        }

        if (fd < 0)
        {
            throw new IOException($"pidfd_open of process {pid}: errno {-fd}");
        }

        try
        {
            int rc;
            do
            {
                var poll = new pollfd { fd = fd, events = Libc.POLLIN };
                rc = Libc.poll(&poll, 1, -1);
            }
            while (rc == -Errno.EINTR);
            if (rc < 0)
            {
                throw new IOException($"poll of process {pid}: errno {-rc}");
            }
        }
        finally
        {
            _ = Libc.close(fd);
        }
    }
}
