// Who is let in, and who is taken down: by the kernel's word (SO_PEERCRED), not by what anybody says.

using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Polyblk.Api;
using Polyblk.Core.Interop;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;

namespace Polyblk.Cli.Tests;

public sealed class PeerTests : DaemonTestBase
{
    private const string Stranger = "4321";

    /// <summary>The owner of what this process makes, as text.</summary>
    private string Me => Own().User.ToString(CultureInfo.InvariantCulture);

    [Theory]
    [InlineData("nbd")]
    [InlineData("vhost-user")]
    public async Task OnlyTheUsersThatAreNamedAreServed(string frontend)
    {
        await CreateAsync("data", "raid1", 2);
        await StartAsync();
        await MustAsync("export", "add", "data", "--frontend", frontend, "--allow-user", Stranger, "--frontend", frontend,
            "--allow-user", $"{Stranger},{Me}", "--frontend", frontend);
        DaemonExportJson[] exports = [.. await ExportsAsync()];
        bool[] served = await Task.WhenAll(exports.Select(e => IsServedAsync(e.Live!.Endpoint, frontend)));
        Assert.Equal([false, true, true], served);
        Assert.Equal([Stranger], Store.Get("data").Exports![0].AllowUsers);

        // Kept: so it is after the next start.
        await EndAsync();
        await StartAsync();
        await Daemon!.Tried;
        Assert.False(await IsServedAsync((await ExportsAsync())[0].Live!.Endpoint, frontend));
    }

    [Fact]
    public async Task AUserThatIsNotThereIsRefused()
    {
        await CreateAsync("data", "raid1", 2);
        await StartAsync();
        (int code, _, string errors) = await RunAsync(
            "export", "add", "data", "--frontend", "nbd", "--allow-user", "no-such-user");
        Assert.Equal(2, code);
        Assert.Contains("There is no user 'no-such-user' for --allow-user.", errors, StringComparison.Ordinal);
        Assert.Equal(0u, GroupDatabase.FindUser("root"));
    }

    [Fact]
    public async Task WhoChangesSomethingOverTheControlSocketIsInTheLog()
    {
        var log = new LogLines();
        StateDirectories.Ensure(Directories.RuntimeOf("v"));
        await using ControlServer server = ControlServer.Start(
            Directories, "v", (r, _) => r.Command == "fail" ? throw RefusalException.Refused("It is needed.")
                : Task.FromResult(new ControlResponse { Ok = true }), log);
        foreach (ControlRequest request in (ControlRequest[])
            [new() { Command = "show" }, new() { Command = "add-spare", Drive = "/dev/sdx" }])
        {
            await ControlClient.AskAsync(Directories, "v", request, CancellationToken.None);
        }

        await Assert.ThrowsAsync<RefusalException>(
            () => ControlClient.AskAsync(
                Directories, "v", new ControlRequest { Command = "fail", Drive = "0" }, CancellationToken.None));
        string me = $"asked for by user {Me}, process {Environment.ProcessId}";
        Assert.Equal([$"add-spare /dev/sdx, {me}: done", $"fail 0, {me}: It is needed."],
            log.Texts.Where(t => t.Contains("asked for", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task WhoChangesSomethingOverTheApiIsInTheLogAndAGroupMayBeLetIn()
    {
        await CreateAsync("data", "raid1", 2);
        await StartAsync();
        var log = new LogLines();
        string group = Own().Group.ToString(CultureInfo.InvariantCulture);
        string path = ApiServer.PathOf(Directories);
        await using (ApiServer api = await ApiServer.StartAsync(Daemon!, Directories, log, group))
        {
            const UnixFileMode OwnersAndGroups =
                UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.GroupWrite;
            Assert.Equal(OwnersAndGroups, File.GetUnixFileMode(path));
            Assert.True(File.GetUnixFileMode(Path.GetDirectoryName(path)!).HasFlag(UnixFileMode.GroupExecute));
            Assert.Equal("HTTP/1.1 200", await AskAsync(path, "GET /v1/daemon", ""));
            Assert.Equal("HTTP/1.1 201", await AskAsync(path, "POST /v1/volumes/data/exports", """{"frontend":"nbd"}"""));
            Assert.Equal("HTTP/1.1 404", await AskAsync(path, "DELETE /v1/exports/data/nbd/7", ""));
        }

        string me = $"asked for by user {Me}, process {Environment.ProcessId}";
        Assert.Equal(
            [$"POST /v1/volumes/data/exports, {me}: done",
                $"DELETE /v1/exports/data/nbd/7, {me}: Volume 'data' has no export 'data/nbd/7'."], log.Texts);

        // Without it the way is closed again.
        await using ApiServer closed = await ApiServer.StartAsync(Daemon!, Directories, log);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
        Assert.False(File.GetUnixFileMode(Path.GetDirectoryName(path)!).HasFlag(UnixFileMode.GroupExecute));
    }

    [Fact]
    public async Task AGroupThatIsNotThereIsRefusedBeforeAnythingIsServed()
    {
        (int code, _, string errors) = await RunAsync("daemon", "--api-group", "no-such-group");
        Assert.Equal(2, code);
        Assert.Contains("There is no group 'no-such-group' for --api-group.", errors, StringComparison.Ordinal);
    }

    /// <summary>Whether the other side says anything, of itself or when it is asked for its features.</summary>
    private static async Task<bool> IsServedAsync(string path, string frontend)
    {
        using Socket client = await ConnectAsync(path);
        try
        {
            if (frontend == "vhost-user")
            {
                // VHOST_USER_GET_FEATURES, version 1, without a payload.
                await client.SendAsync((byte[])[1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
            }

            return await client.ReceiveAsync(new byte[12]) > 0;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    private static async Task<string> AskAsync(string path, string request, string body)
    {
        using Socket client = await ConnectAsync(path);
        await client.SendAsync(Encoding.ASCII.GetBytes(
            $"{request} HTTP/1.1\r\nHost: polyblk\r\nContent-Length: {body.Length}\r\nConnection: close\r\n\r\n{body}"));
        using var reader = new StreamReader(new NetworkStream(client));
        return (await reader.ReadToEndAsync())[..12];
    }

    private static async Task<Socket> ConnectAsync(string path)
    {
        var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await client.ConnectAsync(new UnixDomainSocketEndPoint(path));
        return client;
    }

    private (uint User, uint Group) Own()
    {
        Assert.Equal(0, Libc.OwnerOf(Path.GetDirectoryName(PathOf("x"))!, out uint user, out uint group));
        return (user, group);
    }
}
