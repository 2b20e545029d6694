using Polyblk.Core.Interop;

namespace Polyblk.Core.Tests.Interop;

public sealed class UnixSocketTests
{
    /// <summary>Its numbers are given out again: a second close would be of somebody else's descriptors.</summary>
    [Fact]
    public void The_second_end_of_a_socket_closes_nothing()
    {
        (UnixSocket left, int right) = UnixSocket.Pair();
        left.Dispose();
        int[] others = [.. Enumerable.Range(0, 16).Select(_ => Libc.eventfd(0, Libc.EFD_CLOEXEC))];
        left.Dispose();
        Assert.All(others, fd => Assert.Equal(Libc.FD_CLOEXEC, Libc.fcntl(fd, Libc.F_GETFD, 0)));
        foreach (int fd in (int[])[.. others, right])
        {
            Assert.Equal(0, Libc.close(fd));
        }
    }
}
