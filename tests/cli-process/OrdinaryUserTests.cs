// Nothing needs root that does not have to: a volume on files, served over vhost-user by somebody who has no rights but his own.

using System.Diagnostics;
using System.Text.Json;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Host;
using Polyblk.Tests;
using SystemProcess = System.Diagnostics.Process;

namespace Polyblk.Cli.Process.Tests;

public sealed class OrdinaryUserTests : IDisposable
{
    private const int SigTerm = 15;
    private const int BlockBytes = 64 << 10;
    private const string User = "1000";

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(240);

    private readonly string _directory = Directory.CreateTempSubdirectory("pbu").FullName;

    public OrdinaryUserTests()
    {
        foreach (string name in (string[])["home", "state", "run"])
        {
            Directory.CreateDirectory(Path.Combine(_directory, name), UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }

        if (Environment.IsPrivilegedProcess)
        {
            using SystemProcess chown = SystemProcess.Start("chown", ["-R", $"{User}:{User}", _directory]);
            chown.WaitForExit();
            Assert.Equal(0, chown.ExitCode);
        }
    }

    private string RuntimeHome => Path.Combine(_directory, "run");

    private string StateHome => Path.Combine(_directory, "state");

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task AVolumeOnFilesIsMadeAndServedWithoutRoot()
    {
        string[] drives = [.. "abc".Select(c => $"file:{Path.Combine(_directory, "home", $"{c}.img")},size=32MiB")];
        using (SystemProcess create = Start(["volume", "create", "mine", "--level", "raid5", .. drives, "--json"]))
        {
            Task<string> errors = create.StandardError.ReadToEndAsync();
            string output = await create.StandardOutput.ReadToEndAsync();
            await create.WaitForExitAsync().WaitAsync(s_patience);
            Assert.True(create.ExitCode == 0, $"volume create ended with {create.ExitCode}: {await errors}");
            Assert.Equal("raid5", JsonDocument.Parse(output).RootElement.GetProperty("level").GetString());
        }

        Assert.NotEmpty(Directory.GetFiles(Path.Combine(StateHome, "polyblk"), "*", SearchOption.AllDirectories));
        using var serve = new ServeProcess(Start(["serve", "mine", "--frontend", "vhost-user", "--json"]));
        serve.WaitUntilReady();
        string uids = File.ReadLines($"/proc/{serve.Id}/status").First(l => l.StartsWith("Uid:", StringComparison.Ordinal));
        Assert.DoesNotContain("0", uids[4..].Split('\t', StringSplitOptions.RemoveEmptyEntries));
        string socket = serve.Socket();
        Assert.StartsWith(Path.Combine(RuntimeHome, "polyblk") + "/", socket, StringComparison.Ordinal);
        using (var client = new VhostUserClient(new VhostUserClientOptions { SocketPath = socket, Depth = 16, BufferBytes = BlockBytes }))
        {
            DriverCalls.WriteAll(client, seed: 1, blocks: 32);
            DriverCalls.CheckAll(client, seed: 1, blocks: 32);
            client.Detach();
        }

        Assert.Equal(0, serve.End(SigTerm));
        Assert.False(File.Exists(socket));

        // Drives that may not be read are no failed array.
        foreach (string drive in Directory.GetFiles(Path.Combine(_directory, "home"), "*.img"))
        {
            File.SetUnixFileMode(drive, UnixFileMode.None);
        }

        using SystemProcess list = Start(["volume", "list"]);
        string listed = await list.StandardOutput.ReadToEndAsync();
        await list.WaitForExitAsync().WaitAsync(s_patience);
        Assert.Matches(@"(?m)^mine +unknown +raid5 ", listed);
    }

    /// <summary>Starts the program as an ordinary user: as this one, unless that is root.</summary>
    private SystemProcess Start(string[] arguments)
    {
        string[] become = Environment.IsPrivilegedProcess ? ["setpriv", "--reuid", User, "--regid", User, "--clear-groups"] : [];
        string[] command = [.. become, .. PolyblkCommand.Words, .. arguments];
        var start = new ProcessStartInfo(command[0], command[1..]) { RedirectStandardOutput = true, RedirectStandardError = true, WorkingDirectory = "/" };
        start.Environment["HOME"] = Path.Combine(_directory, "home");
        start.Environment["XDG_STATE_HOME"] = StateHome;
        start.Environment["XDG_RUNTIME_DIR"] = RuntimeHome;
        return SystemProcess.Start(start)!;
    }
}
