using Polyblk.Core.Interop;

namespace Polyblk.VhostUser.Tests;

/// <summary>Who waits for a close that does not end, and how many may.</summary>
public sealed class DescriptorCloserTests
{
    [Fact]
    public void Files_in_memory_and_eventfds_are_closed_at_once_and_nothing_else_is()
    {
        var closer = new DescriptorCloser("user 1", 4, _ => Assert.Fail("not by the thread"));
        int memfd = Libc.memfd_create("harmless", Libc.MFD_CLOEXEC);
        int eventfd = Libc.eventfd(0, Libc.EFD_CLOEXEC);
        Assert.True(DescriptorCloser.IsHarmless(memfd));
        Assert.True(DescriptorCloser.IsHarmless(eventfd));
        string[] before = [IdentityOf(memfd), IdentityOf(eventfd)];
        closer.Close(memfd);
        closer.Close(eventfd);
        Assert.Equal(0, closer.Waiting);
        Assert.NotEqual(before[0], IdentityOf(memfd));
        Assert.NotEqual(before[1], IdentityOf(eventfd));
        using FileStream file = File.OpenRead(typeof(DescriptorCloserTests).Assembly.Location);
        Assert.False(DescriptorCloser.IsHarmless((int)file.SafeFileHandle.DangerousGetHandle()));
    }

    [Fact]
    public void One_that_hangs_holds_up_nobody_who_gives_and_the_backlog_is_bounded()
    {
        var go = new TaskCompletionSource();
        var closer = new DescriptorCloser("user 7", places: 3, fd =>
        {
            go.Task.Wait();
            _ = Libc.close(fd);
        });
        using var fds = new FdList(closer);
        for (int i = 0; i < 3; i++)
        {
            Assert.False(closer.IsFull);
            closer.Close(Suspicious());
        }

        Assert.True(closer.IsFull);
        Assert.Contains("3 descriptors that user 7 gave wait", closer.WhyFull, StringComparison.Ordinal);

        // What cannot hang is taken all the same; what could is not, and ends as the others do.
        Assert.Equal(SocketResult.Done, fds.Add(Libc.eventfd(0, Libc.EFD_CLOEXEC)));
        Assert.Equal(SocketResult.FdsRefused, fds.Add(Suspicious()));
        Assert.Equal((1, 4), (fds.Count, closer.Waiting));
        go.SetResult();
        ExportFixture.Until(() => closer.Waiting == 0, "all are closed");
        Assert.Equal(SocketResult.Done, fds.Add(Suspicious()));
    }

    [Fact]
    public void Every_user_has_one() =>
        Assert.Equal((true, false), (
            ReferenceEquals(DescriptorCloser.OfUser(4711), DescriptorCloser.OfUser(4711)),
            ReferenceEquals(DescriptorCloser.OfUser(4711), DescriptorCloser.OfUser(4712))));

    /// <summary>What a number stands for: other tests of this process may have been given it again meanwhile.</summary>
    private static string IdentityOf(int fd)
    {
        try
        {
            // The inode of a file in memory, the id of an eventfd: no two have the same.
            return File.ReadAllText($"/proc/self/fdinfo/{fd}");
        }
        catch (IOException)
        {
            return "closed";
        }
    }

    private static int Suspicious() => Libc.open("/dev/null", Libc.O_RDONLY | Libc.O_CLOEXEC);
}
