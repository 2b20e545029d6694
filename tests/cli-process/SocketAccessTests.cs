// Sockets for another user's program, as libvirt's QEMU is: whether that user reaches the socket, by the kernel's own judgement
// (access(2)).

using System.Diagnostics;
using System.Text.Json;
using Polyblk.Core.Interop;
using Polyblk.Host;
using Polyblk.Tests;
using SystemProcess = System.Diagnostics.Process;

namespace Polyblk.Cli.Process.Tests;

public sealed class SocketAccessTests : IDisposable
{
    private const int SigTerm = 15;
    private const string Group = "4321";
    private const string Other = "4322";
    private const UnixFileMode Passable = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute;

    private readonly PolyblkSandbox _sandbox = new();

    public SocketAccessTests()
    {
        File.SetUnixFileMode(_sandbox.Directory, Passable);
        Directory.CreateDirectory(_sandbox.State, Passable);
        File.SetUnixFileMode(_sandbox.State, Passable);
        _sandbox.Must("volume", "create", "data", "--level", "raid0", "ram:32MiB", "ram:32MiB");
    }

    public void Dispose() => _sandbox.Dispose();

    [Fact]
    public void AGroupIsLetInAndNobodyElse()
    {
        Assert.True(Environment.IsPrivilegedProcess, "Only root may give a socket to a group that it is not in.");
        ServeProcess serve = _sandbox.Serve("data", "--frontend", "vhost-user", "--socket-group", Group, "--frontend", "nbd", "--socket-group", Group, "--frontend", "nbd");
        Assert.True(Reaches(Group, serve.Socket(0)));
        Assert.True(Reaches(Group, serve.Socket(1)));
        Assert.False(Reaches(Group, serve.Socket(2)), "this one was not given to the group");
        Assert.All(new[] { 0, 1, 2 }, i => Assert.False(Reaches(Other, serve.Socket(i))));
        Assert.False(Reaches(Group, Path.Combine(Path.GetDirectoryName(serve.Socket())!, "control.sock")));
        Assert.False(Test(Group, "-r", Path.GetDirectoryName(serve.Socket())!), "the folder can be passed through, not listed");
        Assert.DoesNotContain(NotesOf(serve, 0), n => n.Contains("socket", StringComparison.Ordinal));
        Assert.Equal(0, serve.End(SigTerm));

        // Served again without it, everything is closed again.
        ServeProcess closed = _sandbox.Serve("data", "--frontend", "vhost-user");
        Assert.False(Reaches(Group, closed.Socket()));
        Assert.Contains(NotesOf(closed, 0), n => n.Contains("--socket-group libvirt-qemu", StringComparison.Ordinal));
    }

    [Fact]
    public void AModeLetsEverybodyIn()
    {
        ServeProcess serve = _sandbox.Serve("data", "--frontend", "nbd", "--socket-mode", "666");
        Assert.True(Reaches(Other, serve.Socket()));
    }

    [Fact]
    public void AGroupIsLetInToTheApiAndToNothingElseOfTheDaemons()
    {
        Assert.True(Environment.IsPrivilegedProcess, "Only root may give a socket to a group that it is not in.");
        using SystemProcess daemon = StartWithApi();
        string folder = Path.Combine(_sandbox.State, "run", "_daemon");
        Assert.False(Reaches(Other, Path.Combine(folder, "api.sock")));
        Assert.All(
            new[] { "control.sock", "handover.sock", "lock" }, name => Assert.False(Reaches(Group, Path.Combine(folder, name))));
        Assert.False(Test(Group, "-r", folder), "the folder can be passed through, not listed");
        End(daemon);
    }

    /// <summary>Commands of a member of the group print what root's do; who is in no group is told what he may not.</summary>
    [Fact]
    public void AGroupOfTheApiHasTheCommandsForWhatIsServed()
    {
        Assert.True(Environment.IsPrivilegedProcess, "Only root may give a socket to a group that it is not in.");
        _sandbox.Must("volume", "create", "drive", "--level", "none", $"file:{_sandbox.PathOf("d")},size=16MiB");
        using SystemProcess daemon = StartWithApi();
        Assert.Equal(0, RunAs(Group, "export", "add", "data", "--frontend", "nbd").ExitCode);
        string[][] commands =
        [
            ["volume", "list", "--json"], ["volume", "show", "drive", "--json"], ["check"], ["check", "drive", "--json"],
            ["export", "list"], ["events", "drive"], ["events", "--since", "1", "--limit", "2", "--json"],
        ];
        foreach (string[] command in commands)
        {
            Assert.Equal(_sandbox.Run(command), RunAs(Group, command));
            RunOutput refused = RunAs(Other, command);
            Assert.Equal((5, string.Empty), (refused.ExitCode, refused.Output));
            Assert.Contains("a group of this user's in: polyblk daemon --api-group", refused.Errors, StringComparison.Ordinal);
        }

        Assert.StartsWith("Name      data", RunAs(Group, "volume", "show", "data").Output, StringComparison.Ordinal);
        Assert.Contains("\"data\"", RunAs(Group, "top", "--interval", "0.1", "--json").Output, StringComparison.Ordinal);
        RunOutput missing = RunAs(Group, "volume", "show", "dat");
        Assert.Equal(_sandbox.Run("volume", "show", "dat"), missing);
        Assert.Equal(3, missing.ExitCode);
        Assert.Equal("Volume 'data' goes on.\n", RunAs(Group, "volume", "resume", "data").Output);
        Assert.Equal(_sandbox.Run("volume", "check", "data"), RunAs(Group, "volume", "check", "data"));
        Assert.Equal("Volume 'drive' is not being served.\n", RunAs(Group, "volume", "stop", "drive").Output);
        Assert.Equal("Volume 'data' is stopped.\n", RunAs(Group, "volume", "stop", "data").Output);
        Assert.Equal("Volume 'data' is served.\n", RunAs(Group, "volume", "start", "data").Output);
        Assert.Equal(0, RunAs(Group, "volume", "autostart", "data", "off").ExitCode);
        string record = File.ReadAllText(Path.Combine(_sandbox.State, "volumes", "data.json"));
        Assert.Contains("\"autostart\": false", record, StringComparison.Ordinal);
        Assert.Equal(0, RunAs(Group, "export", "remove", "data/nbd/0").ExitCode);
        Assert.Equal("Volume 'drive' is deleted.\n", RunAs(Group, "volume", "delete", "drive").Output);
        End(daemon);
    }

    private SystemProcess StartWithApi()
    {
        SystemProcess daemon = _sandbox.Start(["daemon", "--api-group", Group]);
        _ = daemon.StandardError.ReadToEndAsync();
        string api = Path.Combine(_sandbox.State, "run", "_daemon", "api.sock");
        for (long began = Stopwatch.GetTimestamp(); !Reaches(Group, api);)
        {
            bool isLate = daemon.HasExited || Stopwatch.GetElapsedTime(began) > TimeSpan.FromSeconds(60);
            Assert.False(isLate, "the group is not let in");
        }

        return daemon;
    }

    private static void End(SystemProcess daemon)
    {
        Assert.Equal(0, Libc.kill(daemon.Id, SigTerm));
        Assert.True(daemon.WaitForExit(TimeSpan.FromSeconds(60)), "the daemon did not end");
    }

    /// <summary>A command as a user of no importance in a group.</summary>
    private RunOutput RunAs(string group, params string[] arguments)
    {
        string[] become = ["--reuid", "65534", "--regid", group, "--clear-groups", .. PolyblkCommand.Words];
        var start = new ProcessStartInfo("setpriv", [.. become, .. arguments, "--state", _sandbox.State])
        {
            RedirectStandardOutput = true, RedirectStandardError = true, WorkingDirectory = "/",
        };
        using SystemProcess process = SystemProcess.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return new RunOutput(process.ExitCode, output, errors.GetAwaiter().GetResult());
    }

    [Fact]
    public void AFolderThatKeepsTheGroupOutIsNamed()
    {
        string folder = Directory.CreateDirectory(_sandbox.PathOf("closed"), UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute).FullName;
        ServeProcess serve = _sandbox.Serve("data", "--frontend", "nbd", "--socket", Path.Combine(folder, "x.sock"), "--socket-mode", "666");
        Assert.Contains(NotesOf(serve, 0), n => n.StartsWith($"Only the owner may enter {folder}:", StringComparison.Ordinal));
    }

    private static string[] NotesOf(ServeProcess serve, int export) =>
        [.. serve.Ready.GetProperty("exports").EnumerateArray().ElementAt(export).GetProperty("notes").EnumerateArray().Select(n => n.GetString()!)];

    private static bool Reaches(string group, string socket) => Test(group, "-w", socket);

    /// <summary>test(1) as a user of no importance in a group.</summary>
    private static bool Test(string group, string what, string path)
    {
        string[] become = Environment.IsPrivilegedProcess ? ["--reuid", "65534", "--regid", group, "--clear-groups"] : [];
        using SystemProcess test = SystemProcess.Start(new ProcessStartInfo("setpriv", [.. become, "test", what, path]))!;
        test.WaitForExit();
        return test.ExitCode == 0;
    }
}
