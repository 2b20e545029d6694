// What a client can send or cause besides requests.

using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Drives.Ram;

namespace Polyblk.Nbd.Tests;

public sealed class ForeignThingsTests
{
    private const int Mib = 1 << 20;
    private const ushort WriteZeroes = 6;
    private const uint ENOSPC = 28;

    /// <summary>
    /// Descriptors are nothing of this protocol. The kernel refuses to send them (Linux 6.16); an older one drops them when the
    /// bytes are read. In no case one stays.
    /// </summary>
    [Fact]
    public async Task Descriptors_are_not_taken_and_none_stays()
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(16 * Mib));
        bool refused = SendDescriptor(server.Socket);
        Assert.Equal(OperatingSystem.IsOSPlatformVersionAtLeast("linux", 6, 16), refused);
        using RawClient after = RawClient.Transmitting(server.Socket);
        int before = Eventfds();
        for (int i = 0; i < 8; i++)
        {
            Assert.Equal(refused, SendDescriptor(server.Socket));
        }

        using RawClient last = RawClient.Transmitting(server.Socket);
        long end = Environment.TickCount64 + 20_000;
        while (Eventfds() > before)
        {
            Assert.True(Environment.TickCount64 < end, $"{Eventfds()} eventfds are left of {before}");
            await Task.Delay(5);
        }
    }

    [Theory]
    [InlineData(Errno.EDQUOT)]
    [InlineData(Errno.EFBIG)]
    [InlineData(Errno.ENOSPC)]
    public async Task What_has_no_room_is_no_space_to_the_client(int errno)
    {
        var drive = new GateDrive(64L * Mib) { Status = -errno };
        await using NbdTestServer server = await NbdTestServer.StartAsync(drive);
        using RawClient client = RawClient.Transmitting(server.Socket);
        client.SendRequest(WriteZeroes, 1, 0, Mib);
        await drive.ReleaseAsync(forGood: true);
        Assert.Equal(ENOSPC, client.ReadSimpleReply(1));
    }

    /// <summary>Connects and sends a byte with a descriptor; whether the kernel refused.</summary>
    private static unsafe bool SendDescriptor(string path)
    {
        using UnixSocket client = UnixSocket.Connect(path);
        int fd = Libc.eventfd(0, Libc.EFD_CLOEXEC);
        byte flags = 0;
        SocketResult result = client.Send(&flags, 1, [fd], 20_000);
        _ = Libc.close(fd);
        return result == SocketResult.Broken;
    }

    private static int Eventfds() => Directory.GetFileSystemEntries("/proc/self/fd")
        .Count(f => new FileInfo(f).LinkTarget == "anon_inode:[eventfd]");
}
