using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Core.Interop;
using Polyblk.Fakes;
using Polyblk.Frontends;
using Polyblk.Frontends.VhostUser;

namespace Polyblk.VhostUser.Tests;

/// <summary>The socket's path, the options, and what the user is shown.</summary>
public sealed class SocketTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("pbso").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void A_socket_left_by_a_dead_process_is_replaced()
    {
        string path = Path.Combine(_directory, "stale.sock");
        MakeStale(path);
        using UnixListener listener = UnixListener.Listen(path, (UnixFileMode)0x1B0);
        using UnixSocket client = UnixSocket.Connect(path);
        Assert.Equal((UnixFileMode)0x1B0, File.GetUnixFileMode(path));
    }

    [Fact]
    public void A_socket_in_use_is_left_alone()
    {
        string path = Path.Combine(_directory, "used.sock");
        using UnixListener listener = UnixListener.Listen(path, (UnixFileMode)0x1B0);
        IOException e = Assert.Throws<IOException>(() => UnixListener.Listen(path, (UnixFileMode)0x1B0));
        Assert.Contains("Another process listens", e.Message, StringComparison.Ordinal);
        using UnixSocket client = UnixSocket.Connect(path);
    }

    [Fact]
    public void What_is_no_socket_is_left_alone()
    {
        string file = Path.Combine(_directory, "file");
        File.WriteAllText(file, string.Empty);
        Assert.Throws<IOException>(() => UnixListener.Listen(file, (UnixFileMode)0x1B0));
        Assert.True(File.Exists(file));

        string stale = Path.Combine(_directory, "stale");
        MakeStale(stale);
        string link = Path.Combine(_directory, "link");
        File.CreateSymbolicLink(link, stale);
        Assert.Throws<IOException>(() => UnixListener.Listen(link, (UnixFileMode)0x1B0));
        Assert.True(new FileInfo(link).LinkTarget is not null);
    }

    [Fact]
    public void Missing_directories_are_made_and_a_long_path_is_refused()
    {
        using UnixListener listener = UnixListener.Listen(Path.Combine(_directory, "a", "b", "c.sock"), (UnixFileMode)0x1B0);
        IOException e = Assert.Throws<IOException>(() => UnixListener.Listen(Path.Combine(_directory, new string('x', 108)), (UnixFileMode)0x1B0));
        Assert.Contains("107 bytes", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Bad_options_are_refused_with_a_remedy()
    {
        using var device = new DisposableDevice();
        using var reactors = new ReactorFixture(ringEntries: 0);
        var context = new ExportContext(reactors.Group, _directory, _directory, new LogCollector());
        var good = new ExportSpec { Id = "a/b", VolumeName = "a", Device = device.Device };
        (ExportSpec Spec, string Says)[] bad =
        [
            (good with { Queues = 0 }, "1 to 256"),
            (good with { Queues = 257 }, "1 to 256"),
            (good with { QueueSize = 100 }, "power of two"),
            (good with { SocketPath = "/" + new string('x', 200) }, "--socket"),
            (good with { Serial = new string('s', 21) }, "20"),
            (good with { Options = new Dictionary<string, string> { ["packed"] = "maybe" } }, "on or off"),
            (good with { Options = new Dictionary<string, string> { ["max-sessions"] = "0" } }, "1 to 1024"),
        ];
        var frontend = new VhostUserFrontend();
        foreach ((ExportSpec spec, string says) in bad)
        {
            FrontendException e = await Assert.ThrowsAnyAsync<FrontendException>(() => frontend.CreateAsync(spec, context, CancellationToken.None));
            Assert.Contains(says, e.Message, StringComparison.Ordinal);
        }

        Assert.Empty(Directory.GetFileSystemEntries(_directory));
    }

    [Fact]
    public async Task The_attach_commands_name_what_was_set()
    {
        using var device = new DisposableDevice();
        using var reactors = new ReactorFixture(ringEntries: 0);
        var context = new ExportContext(reactors.Group, _directory, _directory, new LogCollector());
        var spec = new ExportSpec { Id = "vol/vhost-user/0", VolumeName = "vol", Device = device.Device, Queues = 3, QueueSize = 512 };
        await using IExport export = await new VhostUserFrontend().CreateAsync(spec, context, CancellationToken.None);
        string path = Path.Combine(_directory, "vol-vhost-user-0.sock");
        Assert.Equal(new ExportEndpoint(EndpointKind.UnixSocket, path), export.Endpoint);
        AttachCommand[] qemu = [.. export.AttachCommands.Where(c => c.Consumer == "qemu")];
        Assert.Contains($"socket,id=polyblk-vol-vhost-user-0,path={path},reconnect-ms=20", qemu[0].Arguments);
        Assert.Contains("vhost-user-blk-pci,chardev=polyblk-vol-vhost-user-0,num-queues=3,queue-size=512,packed=on", qemu[0].Arguments);
        Assert.Contains(",reconnect=1", qemu[1].Text, StringComparison.Ordinal);
        System.Xml.Linq.XElement xml = System.Xml.Linq.XElement.Parse($"<d>{export.AttachCommands.Single(c => c.Consumer == "libvirt").Text}</d>");
        Assert.Equal(path, xml.Descendants("source").Single(s => (string?)s.Attribute("type") == "unix").Attribute("path")!.Value);
        Assert.NotEmpty(export.Notes);
    }

    [Fact]
    public void Without_a_listener_the_client_says_so()
    {
        IOException e = Assert.Throws<IOException>(() => new VhostUserClient(new VhostUserClientOptions { SocketPath = Path.Combine(_directory, "no.sock") }));
        Assert.Contains("Nothing answers", e.Message, StringComparison.Ordinal);
    }

    private static void MakeStale(string path)
    {
        using var socket = new System.Net.Sockets.Socket(
            System.Net.Sockets.AddressFamily.Unix, System.Net.Sockets.SocketType.Stream, System.Net.Sockets.ProtocolType.Unspecified);
        socket.Bind(new System.Net.Sockets.UnixDomainSocketEndPoint(path + ".tmp"));
        socket.Listen();

        // .NET removes the path that it bound when it closes; moved away, it stays behind as a dead process would leave it.
        File.Move(path + ".tmp", path);
    }

    private sealed class DisposableDevice : IDisposable
    {
        public GatedDevice Device { get; } = new(1 << 20);

        public void Dispose() => Device.DisposeAsync().AsTask().Wait();
    }
}
