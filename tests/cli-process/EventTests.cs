// The real chain: a drive refuses a write, and that is in the store, the API, a hook, the log and volume show, with the drive,
// the operation, the offset and the error.

using System.Diagnostics;
using System.Text.Json;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Core.Interop;
using SystemProcess = System.Diagnostics.Process;

namespace Polyblk.Cli.Process.Tests;

public sealed class EventTests : DaemonProcessTestBase
{
    private const int MemberBytes = 16 << 20;
    private readonly int _memory = Libc.memfd_create("member", Libc.MFD_CLOEXEC | Libc.MFD_ALLOW_SEALING);

    public EventTests()
    {
        Assert.Equal(0, Libc.ftruncate(_memory, MemberBytes));
        Directory.CreateDirectory(Hooks, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        string hook = Path.Combine(Hooks, "hook");
        File.WriteAllText(hook, $"#!/bin/sh\ncat >>{HookOutput}; echo >>{HookOutput}\n");
        File.SetUnixFileMode(hook, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }

    /// <summary>Memory that can be sealed: from then on the kernel refuses each write with EPERM.</summary>
    private string Refusing => $"/proc/{Environment.ProcessId}/fd/{_memory}";

    private string Hooks => Sandbox.PathOf("hooks.d");

    private string HookOutput => Sandbox.PathOf("hook.out");

    private string LogFile => Sandbox.PathOf("journal");

    public override void Dispose()
    {
        base.Dispose();
        _ = Libc.close(_memory);
    }

    [Fact]
    public void AMemberThatFailsIsToldWithItsDriveTheOperationTheOffsetAndTheError()
    {
        string[] drives = [$"file:{Member("member", 0)},size=16MiB", $"file:{Member("member", 1)},size=16MiB", Refusing];
        Sandbox.Must(["volume", "create", "data", "--level", "raid5", .. drives]);
        StartLogging();
        Sandbox.Must("export", "add", "data", "--frontend", "vhost-user", "--socket", Sandbox.PathOf("sock"), "--queues", "1");
        var options = new VhostUserClientOptions { SocketPath = Sandbox.PathOf("sock"), Depth = 16, BufferBytes = 64 << 10 };
        using (var client = new VhostUserClient(options))
        {
            DriverCalls.WriteAll(client, seed: 1, 16);
            Assert.Equal(0, Libc.fcntl(_memory, Libc.F_ADD_SEALS, Libc.F_SEAL_WRITE));
            DriverCalls.WriteAll(client, seed: 2, 16);
            DriverCalls.CheckAll(client, seed: 2, 16);
            client.Detach();
        }

        JsonElement failed = Await("member-failed");
        long sequence = failed.GetProperty("sequence").GetInt64();
        Assert.Equal(("data", "warning"), (Text(failed, "volume"), Text(failed, "severity")));
        Assert.Equal(2, failed.GetProperty("member").GetInt32());
        Assert.Equal(("errors", "EPERM"), (Text(failed, "cause"), Text(failed, "errno")));
        Assert.Contains(Text(failed, "operation"), (string[])["write", "flush"]);
        string drive = Text(failed.GetProperty("drive"), "path")!;
        Assert.EndsWith($"/fd/{_memory}", drive, StringComparison.Ordinal);
        string message = Text(failed, "message")!;
        string said = $"member 2 ({drive}) has failed and is out ({Text(failed, "operation")}";
        Assert.Contains(said, message, StringComparison.Ordinal);
        Await("degraded");

        // The API, a hook, and the line of the log with its priority: the same.
        JsonElement asked = Api($"/v1/events?since={sequence - 1}&volume=data&limit=1000");
        Assert.Equal(message, Text(asked.EnumerateArray().First(), "message"));
        Wait.Until(() => HookLines().Any(e => Text(e, "kind") == "degraded"), "the hook");
        Assert.Equal(message, Text(HookLines().Single(e => Text(e, "kind") == "member-failed"), "message"));
        Assert.Contains($"<4>{message}", File.ReadLines(LogFile));
        Assert.Contains("<6>data is served", File.ReadLines(LogFile));

        JsonElement show = Sandbox.Must("volume", "show", "data", "--json").Json;
        JsonElement member = show.GetProperty("array").GetProperty("members")[2];
        Assert.Equal("EPERM", Text(member.GetProperty("lastError"), "errno"));
        Assert.Contains(show.GetProperty("history").EnumerateArray(), e => Text(e, "kind") == "degraded");
        Assert.Contains("EPERM", Sandbox.Must("volume", "show", "data").Output, StringComparison.Ordinal);

        // After a kill numbers go on, and what was told is there.
        End(SigKill);
        StartLogging();
        long[] all = [.. Events().Select(e => e.GetProperty("sequence").GetInt64())];
        Assert.Equal(all.Distinct().Order(), all);
        Assert.Contains(sequence, all);
        Assert.Contains(Events(), e => Text(e, "kind") == "degraded" && e.GetProperty("sequence").GetInt64() > sequence + 1);
        Assert.Equal(0, End(SigTerm));
        Assert.Contains("daemon-ending", Events().TakeLast(5).Select(e => Text(e, "kind")));
        Assert.Equal("volume-stopped", Text(Events()[^1], "kind"));
        Assert.All(
            Sandbox.Must("events", "data", "--limit", "3").Output.TrimEnd().Split('\n'),
            line => Assert.Matches("^([0-9-]{10} [0-9:]{8}Z  (info|warning|error) +[a-z-]+  data  #[0-9]+|    .+)$", line));
    }

    [Fact]
    public void WhoFollowsSeesWhatServeTellsAndEndsWithItsInterrupt()
    {
        Sandbox.Must("volume", "create", "data", "--level", "none", $"file:{Member("member", 0)},size=4MiB");
        using SystemProcess follower = Sandbox.Start(["events", "--follow", "--json"]);
        Sandbox.Serve("data", "--frontend", "nbd");
        Assert.Equal("volume-created", Text(Line(follower), "kind"));
        Assert.Equal("export-added", Text(Line(follower), "kind"));
        Assert.Equal("volume-served", Text(Line(follower), "kind"));
        Assert.Equal(0, Libc.kill(follower.Id, 2));
        Assert.True(follower.WaitForExit(Patience));
        Assert.Equal(130, follower.ExitCode);
    }

    private static string? Text(JsonElement element, string name) => element.GetProperty(name).GetString();

    private static JsonElement Line(SystemProcess process)
    {
        Task<string?> line = process.StandardOutput.ReadLineAsync();
        Assert.True(line.Wait(Patience));
        return JsonDocument.Parse(line.Result!).RootElement;
    }

    /// <summary>Starts the daemon by a shell that gives it what systemd gives, a file for the journal.</summary>
    private void StartLogging()
    {
        string words = $"exec {PolyblkSandbox.ShellWords} daemon --hooks {Hooks} --state {Sandbox.State}";
        string script = $"exec 2>>'{LogFile}'; JOURNAL_STREAM=$(stat -L -c %d:%i '{LogFile}'); export JOURNAL_STREAM; {words}";
        var start = new ProcessStartInfo("/bin/sh") { ArgumentList = { "-c", script } };
        TellUs(start);
        Follow(SystemProcess.Start(start)!);
    }

    private JsonElement Await(string kind)
    {
        Wait.Until(() => Events().Any(e => Text(e, "kind") == kind), kind);
        return Events().First(e => Text(e, "kind") == kind);
    }

    private JsonElement[] Events() => Parse(Sandbox.Must("events", "--json", "--limit", "10000").Output.Split('\n'));

    private JsonElement[] HookLines() => Parse(File.Exists(HookOutput) ? File.ReadAllLines(HookOutput) : []);

    private static JsonElement[] Parse(IEnumerable<string> lines) =>
        [.. lines.Where(l => l.Length > 0).Select(l => JsonDocument.Parse(l).RootElement)];
}
