// A drive dies under a volume that is served, and another one takes its place, while a consumer writes and reads. Real processes.

using System.Text.Json;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Core.Interop;
using Polyblk.Host;
using SystemProcess = System.Diagnostics.Process;

namespace Polyblk.Cli.Process.Tests;

public sealed class RepairTests : IDisposable
{
    private const int SigInt = 2;
    private const int SigKill = 9;
    private const int SigTerm = 15;
    private const int BlockBytes = 64 << 10;
    private const int Blocks = 128;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    private readonly PolyblkSandbox _sandbox = new();

    public void Dispose() => _sandbox.Dispose();

    [Theory]
    [InlineData("raid5", 3)]
    [InlineData("raid1", 2)]
    public async Task AMemberIsReplacedUnderLoad(string level, int members)
    {
        Create(level, members);
        ServeProcess serve = _sandbox.Serve("data", "--frontend", "vhost-user");
        using VhostUserClient client = Attach(serve.Socket());
        DriverCalls.WriteAll(client, seed: 1, Blocks);
        New("new");
        _sandbox.Must("volume", "fail", "data", Path("m1"));
        JsonElement array = Show();
        Assert.Equal("degraded", array.GetProperty("health").GetString());
        Assert.Equal(("failed", "asked"), (Member(array, 1, "state"), Member(array, 1, "reason")));
        Assert.Equal("polyblk volume replace data 1 NEW_DRIVE", array.GetProperty("advice")[0].GetString());

        // The consumer writes and reads what it wrote all the while; so slow a rebuild is not over before it is looked at.
        _sandbox.Must("volume", "set", "data", "--rebuild-rate", "256K");
        Task<RunOutput> replace = Task.Run(() => _sandbox.Run("volume", "replace", "data", Path("m1"), Path("new"), "--wait", "--json"));
        int seed = 2;
        bool wasSeen = false;
        for (bool isOver = false; !isOver; seed++)
        {
            isOver = replace.IsCompleted;
            DriverCalls.WriteAll(client, seed, Blocks);
            DriverCalls.CheckAll(client, seed, Blocks);
            array = Show();
            if (!wasSeen && array.TryGetProperty("rebuild", out JsonElement rebuild))
            {
                wasSeen = true;
                Assert.Equal("rebuilding", array.GetProperty("health").GetString());
                Assert.Equal("rebuilding", Member(array, 1, "state"));
                Assert.InRange(rebuild.GetProperty("progress").GetDouble(), 0, 1);
                Assert.Equal(256 << 10, array.GetProperty("maxRebuildBytesPerSecond").GetInt64());
                Assert.Contains("rebuilding", _sandbox.Must("volume", "list").Output, StringComparison.Ordinal);
                _sandbox.Must("volume", "set", "data", "--rebuild-rate", "0");
            }
        }

        Assert.True(wasSeen, "the rebuild was over before it was looked at");
        RunOutput done = await replace;
        Assert.True(done.ExitCode == 0, done.Errors);
        Assert.Contains("is complete", done.Errors, StringComparison.Ordinal);
        Assert.Equal("optimal", done.Json.GetProperty("array").GetProperty("health").GetString());
        Assert.Equal(
            [.. Enumerable.Range(0, members).Select(i => i == 1 ? Path("new") : Path($"m{i}"))],
            done.Json.GetProperty("drives").EnumerateArray().Select(d => d.GetString()!));

        // The new drive stands in for another one; the old one is nobody's.
        File.Delete(Path("m1"));
        _sandbox.Must("volume", "fail", "data", "0");
        DriverCalls.CheckAll(client, seed - 1, Blocks);
        client.Detach();
        Assert.Equal(0, serve.End(SigTerm));
    }

    /// <summary>The old drive serves until the end, and is nobody's then; the volume is whole all the while.</summary>
    [Theory]
    [InlineData("raid0", 2)]
    [InlineData("raid5", 3)]
    public async Task ADriveThatWorksIsReplacedUnderLoad(string level, int members)
    {
        Create(level, members);
        ServeProcess serve = _sandbox.Serve("data", "--frontend", "vhost-user");
        using VhostUserClient client = Attach(serve.Socket());
        DriverCalls.WriteAll(client, seed: 1, Blocks);
        _sandbox.Must("volume", "set", "data", "--rebuild-rate", "2M");
        Task<RunOutput> replace = Task.Run(() => _sandbox.Run("volume", "replace", "data", Path("m1"), New("new"), "--wait", "--json"));
        int seed = 2;
        bool wasSeen = false;
        for (bool isOver = false; !isOver; seed++)
        {
            isOver = replace.IsCompleted;
            DriverCalls.WriteAll(client, seed, Blocks);
            DriverCalls.CheckAll(client, seed, Blocks);
            JsonElement array = Show();
            if (!wasSeen && array.TryGetProperty("replacement", out JsonElement replacement))
            {
                wasSeen = true;
                Assert.Equal("optimal", array.GetProperty("health").GetString());
                Assert.Equal("present", Member(array, 1, "state"));
                Assert.Equal(
                    (1, Path("m1"), Path("new")),
                    (replacement.GetProperty("role").GetInt32(), replacement.GetProperty("oldDrive").GetString(), replacement.GetProperty("newDrive").GetString()));
                Assert.Contains("replacing", _sandbox.Must("volume", "list").Output, StringComparison.Ordinal);
                _sandbox.Must("volume", "set", "data", "--rebuild-rate", "0");
            }
        }

        Assert.True(wasSeen, "the replacement was over before it was looked at");
        RunOutput done = await replace;
        Assert.True(done.ExitCode == 0, done.Errors);
        Assert.Contains("is complete", done.Errors, StringComparison.Ordinal);
        Assert.Equal(Path("new"), Member(Show(), 1, "drive"));
        Assert.DoesNotContain(Path("m1"), done.Json.GetProperty("drives").EnumerateArray().Select(d => d.GetString()!));

        // Nothing looks at the old drive any more: not the running process, and not the next one.
        File.WriteAllBytes(Path("m1"), new byte[1]);
        DriverCalls.WriteAll(client, seed, Blocks);
        DriverCalls.CheckAll(client, seed, Blocks);
        client.Detach();
        Assert.Equal(0, serve.End(SigTerm));
        ServeProcess second = _sandbox.Serve("data", "--frontend", "vhost-user");
        using VhostUserClient reader = Attach(second.Socket());
        DriverCalls.CheckAll(reader, seed, Blocks);
        reader.Detach();
    }

    [Fact]
    public void AReplacementBeginsAnewAfterTheServerWasKilled()
    {
        Create("raid1", 2);
        ServeProcess first = _sandbox.Serve("data", "--frontend", "vhost-user");
        using (VhostUserClient client = Attach(first.Socket()))
        {
            DriverCalls.WriteAll(client, seed: 1, Blocks);
            client.Detach();
        }

        _sandbox.Must("volume", "set", "data", "--rebuild-rate", "256K");
        _sandbox.Must("volume", "replace", "data", "0", New("new"));
        Wait.Until(
            () => Show().TryGetProperty("replacement", out JsonElement r)
                && r.GetProperty("copy").GetProperty("doneBytes").GetInt64() > 0,
            "the copying");
        first.End(SigKill);
        Assert.Equal(Path("new"), Show().GetProperty("replacement").GetProperty("newDrive").GetString());
        _sandbox.Must("volume", "set", "data", "--rebuild-rate", "0");
        ServeProcess second = _sandbox.Serve("data", "--frontend", "vhost-user");
        _sandbox.Must("volume", "replace", "data", "0", Path("new"), "--wait");
        _sandbox.Must("volume", "fail", "data", "1");
        using VhostUserClient reader = Attach(second.Socket());
        DriverCalls.CheckAll(reader, seed: 1, Blocks);
        reader.Detach();
        Assert.DoesNotContain(Path("m0"), _sandbox.Must("volume", "show", "data", "--json").Json.GetProperty("drives").EnumerateArray().Select(d => d.GetString()!));
    }

    [Fact]
    public void ARebuildGoesOnAfterTheServerWasKilled()
    {
        Create("raid1", 2);
        ServeProcess first = _sandbox.Serve("data", "--frontend", "vhost-user");
        using (VhostUserClient client = Attach(first.Socket()))
        {
            DriverCalls.WriteAll(client, seed: 1, Blocks);
            client.Detach();
        }

        _sandbox.Must("volume", "fail", "data", "0");
        _sandbox.Must("volume", "set", "data", "--rebuild-rate", "256K");
        _sandbox.Must("volume", "replace", "data", "0", New("new"));
        Wait.Until(
            () => Show().TryGetProperty("rebuild", out JsonElement r) && r.GetProperty("doneBytes").GetInt64() > 0,
            "the rebuild to begin");
        first.End(SigKill);
        Assert.StartsWith("rebuilding", Show().GetProperty("health").GetString(), StringComparison.Ordinal);
        Assert.Contains(Path("new"), _sandbox.Must("volume", "show", "data").Output, StringComparison.Ordinal);

        ServeProcess second = _sandbox.Serve("data", "--frontend", "vhost-user");
        Assert.Equal("rebuilding", Show().GetProperty("health").GetString());

        // The rate was kept. The command that was run before waits for what it began.
        Assert.Equal(256 << 10, Show().GetProperty("maxRebuildBytesPerSecond").GetInt64());
        SystemProcess waiting = _sandbox.Start(["volume", "replace", "data", "0", Path("new"), "--wait"]);
        Assert.Contains("already", waiting.StandardOutput.ReadLine(), StringComparison.Ordinal);
        Assert.Equal(0, Libc.kill(waiting.Id, SigInt));
        Assert.True(waiting.WaitForExit(s_patience));
        Assert.Equal(130, waiting.ExitCode);
        Assert.Contains("goes on", waiting.StandardError.ReadToEnd(), StringComparison.Ordinal);

        _sandbox.Must("volume", "set", "data", "--rebuild-rate", "0");
        _sandbox.Must("volume", "replace", "data", "0", Path("new"), "--wait");
        _sandbox.Must("volume", "fail", "data", "1");
        using VhostUserClient reader = Attach(second.Socket());
        DriverCalls.CheckAll(reader, seed: 1, Blocks);
    }

    [Fact]
    public void ASpareTakesThePlaceByItselfUnlessThatIsNotWanted()
    {
        Create("raid1", 2);
        ServeProcess first = _sandbox.Serve("data", "--frontend", "vhost-user", "--no-rebuild");
        using (VhostUserClient client = Attach(first.Socket()))
        {
            DriverCalls.WriteAll(client, seed: 3, Blocks);
            client.Detach();
        }

        _sandbox.Must("volume", "add-spare", "data", New("spare"));
        Assert.Contains("already", _sandbox.Must("volume", "add-spare", "data", Path("spare")).Output, StringComparison.Ordinal);
        _sandbox.Must("volume", "fail", "data", "1");
        Thread.Sleep(1000);
        Assert.Equal("degraded", Show().GetProperty("health").GetString());
        Assert.Equal(Path("spare"), Show().GetProperty("spares")[0].GetString());
        Assert.Equal(0, first.End(SigTerm));

        ServeProcess second = _sandbox.Serve("data", "--frontend", "vhost-user");
        Wait.Until(() => Show().GetProperty("health").GetString() == "optimal", "the spare to be filled");
        JsonElement array = Show();
        Assert.Equal(Path("spare"), Member(array, 1, "drive"));
        Assert.Contains(array.GetProperty("otherDrives").EnumerateArray(), o => o.GetProperty("drive").GetString() == Path("m1"));
        _sandbox.Must("volume", "remove", "data", Path("m1"));
        _sandbox.Must("volume", "fail", "data", "0");
        using VhostUserClient reader = Attach(second.Socket());
        DriverCalls.CheckAll(reader, seed: 3, Blocks);
        reader.Detach();

        // The drive that failed takes its own place again, opened anew.
        _sandbox.Must("volume", "replace", "data", Path("m0"), Path("m0"), "--wait");
        Assert.Equal("optimal", Show().GetProperty("health").GetString());
    }

    [Fact]
    public void MembersOfAVolumeInMemoryAreNamedByNumber()
    {
        _sandbox.Must("volume", "create", "data", "--level", "raid1", "ram:32MiB", "ram:32MiB");
        ServeProcess serve = _sandbox.Serve("data", "--frontend", "vhost-user");
        using VhostUserClient client = Attach(serve.Socket());
        DriverCalls.WriteAll(client, seed: 4, Blocks);
        _sandbox.Must("volume", "fail", "data", "0");
        _sandbox.Must("volume", "replace", "data", "0", "ram:32MiB", "--wait");
        _sandbox.Must("volume", "fail", "data", "1");
        DriverCalls.CheckAll(client, seed: 4, Blocks);
        Assert.Equal(2, _sandbox.Must("volume", "show", "data", "--json").Json.GetProperty("drives").GetArrayLength());
    }

    private static string? Member(JsonElement array, int role, string what) =>
        array.GetProperty("members")[role].TryGetProperty(what, out JsonElement value) ? value.GetString() : null;

    private static VhostUserClient Attach(string socket) =>
        new(new VhostUserClientOptions { SocketPath = socket, Queues = 1, Depth = 16, BufferBytes = BlockBytes });

    private JsonElement Show() => _sandbox.Must("volume", "show", "data", "--json").Json.GetProperty("array");

    private void Create(string level, int members) => _sandbox.Must(
        ["volume", "create", "data", "--level", level, .. Enumerable.Range(0, members).Select(i => $"file:{Path($"m{i}")},size=24MiB")]);

    /// <summary>Makes an empty drive.</summary>
    private string New(string name)
    {
        using FileStream file = File.Create(Path(name));
        file.SetLength(24 << 20);
        return Path(name);
    }

    private string Path(string name) => _sandbox.PathOf(name);
}
