using System.Net.Sockets;
using Polyblk.Compare.Methods;

namespace Polyblk.Compare.Tests;

public sealed class ListeningSocketTests
{
    [Fact]
    public void A_socket_that_is_bound_is_there_and_only_one_that_listens_is_ready()
    {
        string folder = Directory.CreateTempSubdirectory("polyblk listening-").FullName;
        try
        {
            string path = Path.Combine(folder, "a.sock");
            Assert.False(ListeningSocket.IsAt(path));
            using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            socket.Bind(new UnixDomainSocketEndPoint(path));
            Assert.True(File.Exists(path));
            Assert.False(ListeningSocket.IsAt(path));
            socket.Listen();
            Assert.True(ListeningSocket.IsAt(path));
            Assert.False(ListeningSocket.IsAt(path + "x"));
            Assert.False(ListeningSocket.IsAt(path[1..]));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
