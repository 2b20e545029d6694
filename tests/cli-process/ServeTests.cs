using System.Globalization;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Core.Interop;
using Polyblk.Host;
// The served volume, end to end: the real program in one process, the built-in virtio driver in this one.

namespace Polyblk.Cli.Process.Tests;

public sealed class ServeTests : IDisposable
{
    private const int SigInt = 2;
    private const int SigBus = 7;
    private const int SigKill = 9;
    private const int SigTerm = 15;
    private const int SigHup = 1;
    private const int BlockBytes = 64 << 10;

    private readonly PolyblkSandbox _sandbox = new();

    public void Dispose() => _sandbox.Dispose();

    [Theory]
    [InlineData(SigTerm)]
    [InlineData(SigInt)]
    public void ACleanStopKeepsTheDataAndMarksTheArrayClean(int signal)
    {
        Create("data", "raid5", 3);
        ServeProcess first = _sandbox.Serve("data", "--frontend", "vhost-user", "--queues", "2");
        using (VhostUserClient client = Attach(first.Socket(), queues: 2))
        {
            DriverCalls.WriteAll(client, seed: 1, blocks: 64);
            client.Detach();
        }

        Assert.Equal(0, first.End(signal));
        Assert.False(File.Exists(first.Socket()));

        // Whoever reads the log later knows which program it was, on what, by which doors.
        string log = File.ReadAllText(Path.Combine(_sandbox.State, "log", "data.log"));
        string[] expected =
        [
            $"polyblk {_sandbox.Run("--version").Output.Trim()}, process {first.Id}", "Reactors: ", "Frontends: vhost-user",
            "Drives of data (raid5): ", _sandbox.PathOf("data2.img"),
        ];
        Assert.All(expected, line => Assert.Contains(line, log, StringComparison.Ordinal));
        Assert.Equal("optimal", ArrayHealth("data"));

        ServeProcess second = _sandbox.Serve("data", "--frontend", "vhost-user");
        using VhostUserClient reader = Attach(second.Socket());
        DriverCalls.CheckAll(reader, seed: 1, blocks: 64);
    }

    [Fact]
    public void AKilledServerLosesNothingForAConsumerThatReconnects()
    {
        Create("data", "raid5", 3);
        string socket = _sandbox.PathOf("v.sock");
        string[] command = ["data", "--frontend", "vhost-user", "--socket", socket, "--queues", "1"];
        ServeProcess first = _sandbox.Serve(command);
        using var client = new VhostUserClient(new VhostUserClientOptions
        {
            SocketPath = socket, Depth = 16, BufferBytes = BlockBytes, Inflight = true,
        });
        DriverCalls.WriteAll(client, seed: 2, blocks: 48);

        // Sixteen overwrites are under way, none of them awaited, when the server dies.
        DriverCalls.SubmitWrites(client, seed: 3, firstBlock: 0, count: 16);
        first.End(SigKill);
        Assert.Equal("dirty", ArrayHealth("data"));

        ServeProcess second = _sandbox.Serve(command);
        client.Reconnect();
        DriverCalls.AwaitAll(client);
        DriverCalls.CheckAll(client, seed: 3, blocks: 16);
        DriverCalls.CheckRange(client, seed: 2, firstBlock: 16, count: 32);
        JsonElement array = second.Ready.GetProperty("array");
        Assert.Contains(array.GetProperty("health").GetString(), (string[])["resyncing", "optimal"]);
        Assert.Equal(0, second.End(SigTerm));
    }

    [Fact]
    public void AConsumerThatTakesItsMemoryAwayCostsItsOwnSessionAndNobodyElses()
    {
        Create("data", "raid5", 3);
        ServeProcess serve = _sandbox.Serve("data", "--frontend", "vhost-user");
        using VhostUserClient neighbour = Attach(serve.Socket());
        using (var thief = new VhostUserClient(new VhostUserClientOptions
        {
            SocketPath = serve.Socket(), Depth = 16, BufferBytes = BlockBytes, SealableMemory = false,
        }))
        {
            DriverCalls.WriteAll(thief, seed: 8, blocks: 16);
            Assert.Equal(0, Libc.ftruncate((int)thief.Memory.File.DangerousGetHandle(), 0));
            thief.Queues[0].Kick();
            Assert.True(SpinWait.SpinUntil(() => thief.IsDisconnected, 60_000), $"the session goes on:\n{serve.Errors}");
            DriverCalls.CheckAll(neighbour, seed: 8, blocks: 16);
        }

        Assert.DoesNotContain("would end this process", serve.Errors, StringComparison.Ordinal);
        Assert.Equal(0, serve.End(SigTerm));
    }

    /// <summary>A SIGBUS that has nothing to do with the memory of consumers ends the process, as it does everywhere.</summary>
    [Fact]
    public void AFaultOfItsOwnEndsTheServer()
    {
        Create("data", "raid5", 3);
        ServeProcess serve = _sandbox.Serve("data", "--frontend", "vhost-user");
        using VhostUserClient client = Attach(serve.Socket());
        Assert.NotEqual(0, serve.End(SigBus));
    }

    [Fact]
    public void ADirtyArrayThatIsOnlyReadSaysThatItNeedsAResyncAndNotThatOneRuns()
    {
        Create("data", "raid1", 2);
        ServeProcess first = _sandbox.Serve("data", "--frontend", "vhost-user");
        using (VhostUserClient client = Attach(first.Socket()))
        {
            DriverCalls.WriteAll(client, seed: 1, blocks: 4);
            first.End(SigKill);
        }

        ServeProcess second = _sandbox.Serve("data", "--frontend", "vhost-user", "--read-only");
        JsonElement array = _sandbox.Must("volume", "show", "data", "--json").Json.GetProperty("array");
        Assert.Equal(("dirty", true), (array.GetProperty("health").GetString(), array.GetProperty("resyncIsLeft").GetBoolean()));
        Assert.False(array.TryGetProperty("resyncProgress", out _));
        string text = _sandbox.Must("volume", "show", "data").Output;
        Assert.Contains("dirty, needs a resync, which a read-only use does not do", text, StringComparison.Ordinal);
        Assert.Equal(0, second.End(SigTerm));
    }

    [Fact]
    public void TwoSocketsShowOneVolumeAndOneOfThemRefusesWrites()
    {
        Create("data", "raid1", 2);
        ServeProcess serve = _sandbox.Serve(
            "data", "--frontend", "vhost-user", "--queues", "1", "--frontend", "vhost-user", "--read-only", "--serial", "BACKUP");
        using VhostUserClient writer = Attach(serve.Socket(0));
        using VhostUserClient reader = Attach(serve.Socket(1));
        DriverCalls.WriteAll(writer, seed: 4, blocks: 16);
        DriverCalls.CheckAll(reader, seed: 4, blocks: 16);
        Assert.NotEqual(0, DriverCalls.WriteOne(reader, seed: 5));
        Assert.Equal("BACKUP", DriverCalls.GetId(reader));
        DriverCalls.CheckAll(writer, seed: 4, blocks: 16);

        JsonElement live = _sandbox.Must("volume", "show", "data", "--json").Json.GetProperty("live");
        JsonElement[] exports = [.. live.GetProperty("exports").EnumerateArray()];
        Assert.Equal(16, exports[0].GetProperty("statistics").GetProperty("writes").GetInt64());
        Assert.True(exports[1].GetProperty("readOnly").GetBoolean());
        Assert.Equal(1, exports[1].GetProperty("statistics").GetProperty("sessions").GetInt32());
        Assert.NotEmpty(live.GetProperty("reactors").EnumerateArray());
        Assert.Contains("raid1", _sandbox.Must("volume", "show", "data").Output, StringComparison.Ordinal);
    }

    [Fact]
    public void ASecondProcessIsToldWhoServesTheVolume()
    {
        _sandbox.Must("volume", "create", "fast", "--level", "raid0", "ram:32MiB", "ram:32MiB");
        ServeProcess serve = _sandbox.Serve("fast", "--frontend", "vhost-user");
        foreach (string[] command in (string[][])[["serve", "fast", "--frontend", "vhost-user"], ["volume", "delete", "fast"]])
        {
            RunOutput run = _sandbox.Run(command);
            Assert.Equal(4, run.ExitCode);
            Assert.Contains($"process {serve.Id}", run.Errors, StringComparison.Ordinal);
        }

        JsonElement listed = Assert.Single(_sandbox.Must("volume", "list", "--json").Json.EnumerateArray());
        Assert.Equal("served", listed.GetProperty("status").GetString());
        Assert.Equal(serve.Id, listed.GetProperty("pid").GetInt32());

        _sandbox.Must("volume", "stop", "fast");
        serve.WaitForExit();
        Assert.Equal(0, serve.ExitCode);
        Assert.Contains("not being served", _sandbox.Must("volume", "stop", "fast").Output, StringComparison.Ordinal);
    }

    [Fact]
    public void AVolatileVolumeStartsEmptyEachTime()
    {
        _sandbox.Must("volume", "create", "fast", "--level", "raid5", "ram:32MiB", "ram:32MiB", "ram:32MiB");
        ServeProcess first = _sandbox.Serve("fast", "--frontend", "vhost-user");
        using (VhostUserClient client = Attach(first.Socket()))
        {
            DriverCalls.WriteAll(client, seed: 6, blocks: 8);
            DriverCalls.CheckAll(client, seed: 6, blocks: 8);
        }

        Assert.Equal(0, first.End(SigTerm));
        ServeProcess second = _sandbox.Serve("fast", "--frontend", "vhost-user");
        using VhostUserClient reader = Attach(second.Socket());
        DriverCalls.CheckZero(reader, blocks: 8);
    }

    [Fact]
    public void AMirrorStartsWithoutOneMemberAndSaysSo()
    {
        Create("data", "raid1", 2);
        File.Move(_sandbox.PathOf("data0.img"), _sandbox.PathOf("away.img"));
        RunOutput unasked = _sandbox.Run("serve", "data", "--frontend", "vhost-user");
        Assert.Equal(4, unasked.ExitCode);
        Assert.Contains($"member 0 ({_sandbox.PathOf("data0.img")}", unasked.Errors, StringComparison.Ordinal);
        Assert.Contains("--allow-degraded", unasked.Errors, StringComparison.Ordinal);
        ServeProcess serve = _sandbox.Serve("data", "--allow-degraded", "--frontend", "vhost-user");
        Assert.Equal("degraded", serve.Ready.GetProperty("array").GetProperty("health").GetString());
        using (VhostUserClient client = Attach(serve.Socket()))
        {
            DriverCalls.WriteAll(client, seed: 7, blocks: 8);
            DriverCalls.CheckAll(client, seed: 7, blocks: 8);
        }

        Assert.Equal(0, serve.End(SigTerm));

        // The one that was away is stale now: it is left out, and its old content is never read.
        File.Move(_sandbox.PathOf("away.img"), _sandbox.PathOf("data0.img"));
        ServeProcess again = _sandbox.Serve("data", "--frontend", "vhost-user");
        using VhostUserClient reader = Attach(again.Socket());
        DriverCalls.CheckAll(reader, seed: 7, blocks: 8);
    }

    [Fact]
    public void AMemberThatIsInUseElsewhereIsNotDroppedFromTheArray()
    {
        Create("data", "raid1", 2);
        using (new FileStream(_sandbox.PathOf("data1.img"), FileMode.Open, FileAccess.ReadWrite, FileShare.None))
        {
            RunOutput run = _sandbox.Run("serve", "data", "--frontend", "vhost-user");
            Assert.Equal(4, run.ExitCode);
            Assert.Contains("another process uses it", run.Errors, StringComparison.Ordinal);
        }

        ServeProcess serve = _sandbox.Serve("data", "--frontend", "vhost-user");
        Assert.Equal("optimal", serve.Ready.GetProperty("array").GetProperty("health").GetString());
    }

    [Fact]
    public void AVolumeThatIsOnlyReadKeepsItsDrivesToTheByteAlsoWithoutAMember()
    {
        Create("data", "raid5", 3);
        ServeProcess writing = _sandbox.Serve("data", "--frontend", "vhost-user");
        using (VhostUserClient client = Attach(writing.Socket()))
        {
            DriverCalls.WriteAll(client, seed: 9, blocks: 8);
        }

        writing.End(SigKill);
        byte[][] before = SumMembers(3);
        ServeProcess reading = _sandbox.Serve("data", "--frontend", "vhost-user", "--read-only");
        Assert.Equal("dirty", reading.Ready.GetProperty("array").GetProperty("health").GetString());
        using (VhostUserClient client = Attach(reading.Socket()))
        {
            DriverCalls.CheckAll(client, seed: 9, blocks: 8);
        }

        Assert.Equal(0, reading.End(SigTerm));

        // With too few members left, what lies on those is still read.
        File.Move(_sandbox.PathOf("data0.img"), _sandbox.PathOf("away0.img"));
        File.Move(_sandbox.PathOf("data1.img"), _sandbox.PathOf("away1.img"));
        RunOutput broken = _sandbox.Run("serve", "data", "--frontend", "vhost-user");
        Assert.Equal(4, broken.ExitCode);
        Assert.Contains("--read-only", broken.Errors, StringComparison.Ordinal);
        ServeProcess part = _sandbox.Serve("data", "--allow-degraded", "--frontend", "vhost-user", "--read-only");
        Assert.Equal("failed", part.Ready.GetProperty("array").GetProperty("health").GetString());
        Assert.Equal(0, part.End(SigTerm));
        File.Move(_sandbox.PathOf("away0.img"), _sandbox.PathOf("data0.img"));
        File.Move(_sandbox.PathOf("away1.img"), _sandbox.PathOf("data1.img"));
        Assert.Equal(before, SumMembers(3));
    }

    [Fact]
    public void AForcedStartIsRememberedUntilItIsAcknowledged()
    {
        _sandbox.Must(
            ["volume", "create", "data", "--level", "raid5", "--consistency", "bitmap", .. Enumerable.Range(0, 3).Select(i => Member("data", i))]);
        ServeProcess writing = _sandbox.Serve("data", "--frontend", "vhost-user");
        using (VhostUserClient client = Attach(writing.Socket()))
        {
            DriverCalls.WriteAll(client, seed: 9, blocks: 8);
        }

        writing.End(SigKill);
        File.Delete(_sandbox.PathOf("data1.img"));
        RunOutput unforced = _sandbox.Run("serve", "data", "--allow-degraded", "--frontend", "vhost-user");
        Assert.Contains("--force-assembly", unforced.Errors, StringComparison.Ordinal);
        ServeProcess forced = _sandbox.Serve("data", "--force-assembly", "--frontend", "vhost-user");
        using (VhostUserClient client = Attach(forced.Socket()))
        {
            DriverCalls.WriteAll(client, seed: 10, blocks: 8);
        }

        Assert.Equal(0, forced.End(SigTerm));
        ServeProcess later = _sandbox.Serve("data", "--frontend", "vhost-user");
        string Warnings() => _sandbox.Must("volume", "show", "data", "--json").Json
            .GetProperty("array").GetProperty("warnings").GetRawText();
        Assert.Contains("volume acknowledge data", Warnings(), StringComparison.Ordinal);
        _sandbox.Must("volume", "acknowledge", "data");
        Assert.DoesNotContain("damaged", Warnings(), StringComparison.Ordinal);
        Assert.Equal(0, later.End(SigTerm));
        Assert.Equal(4, _sandbox.Run("volume", "acknowledge", "data").ExitCode);
    }

    [Theory]
    [InlineData("\"level\": \"raid1\"", "\"level\": \"none\"", "level none has one drive")]
    [InlineData("\"volatile\": false", "\"volatile\": true", "made afresh over what they hold")]
    [InlineData("\"name\": \"data\"", "\"name\": \"../../data\"", "its name")]
    public void ARecordThatIsWrongDestroysNothing(string was, string now, string reason)
    {
        Create("data", "raid1", 2);
        string record = Path.Combine(_sandbox.State, "volumes", "data.json");
        string text = File.ReadAllText(record);
        Assert.Contains(was, text, StringComparison.Ordinal);
        byte[] before = _sandbox.Sum("data0.img");
        File.WriteAllText(record, text.Replace(was, now, StringComparison.Ordinal));
        RunOutput refused = _sandbox.Run("serve", "data", "--frontend", "vhost-user");
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains(reason, refused.Errors, StringComparison.Ordinal);
        Assert.Equal(before, _sandbox.Sum("data0.img"));
    }

    [Fact]
    public void AMemberOfAnArrayIsNotServedAloneWhateverARecordSays()
    {
        Create("data", "raid1", 2);
        string record = Path.Combine(_sandbox.State, "volumes", "data.json");
        string second = $",\n    \"{_sandbox.PathOf("data1.img")}\"";
        string text = File.ReadAllText(record);
        Assert.Contains(second, text, StringComparison.Ordinal);
        File.WriteAllText(
            record,
            text.Replace("\"raid1\"", "\"none\"", StringComparison.Ordinal).Replace(second, string.Empty, StringComparison.Ordinal));
        RunOutput refused = _sandbox.Run("serve", "data", "--frontend", "vhost-user");
        Assert.Equal(4, refused.ExitCode);
        Assert.Contains("is a member of the array 'data'", refused.Errors, StringComparison.Ordinal);
    }

    [Fact]
    public void AStripeWithoutAMemberIsRefusedWithTheReason()
    {
        Create("data", "raid0", 2);
        File.Delete(_sandbox.PathOf("data1.img"));
        RunOutput run = _sandbox.Run("serve", "data", "--frontend", "vhost-user");
        Assert.Equal(4, run.ExitCode);
        Assert.Contains("data1.img", run.Errors, StringComparison.Ordinal);
        Assert.False(File.Exists(_sandbox.PathOf("data1.img")));
    }

    [Fact]
    public void ResizingReachesTheConsumer()
    {
        _sandbox.Must("volume", "create", "data", "--level", "raid1", "--size", "16MiB", Member("data", 0), Member("data", 1));
        ServeProcess serve = _sandbox.Serve("data", "--frontend", "vhost-user");
        using VhostUserClient client = Attach(serve.Socket());
        Assert.Equal(16L << 20, client.CapacityBytes);
        _sandbox.Must("volume", "resize", "data", "--size", "32MiB");
        Assert.True(client.WaitForConfigChange(10_000));
        client.ReadConfig();
        Assert.Equal(32L << 20, client.CapacityBytes);
        Assert.False(client.WaitForConfigChange(0), "the size was told twice");

        RunOutput tooLarge = _sandbox.Run("volume", "resize", "data", "--size", "1TiB");
        Assert.Equal(4, tooLarge.ExitCode);
        RunOutput smaller = _sandbox.Run("volume", "resize", "data", "--size", "16MiB");
        Assert.Equal(4, smaller.ExitCode);
        Assert.Contains("--force", smaller.Errors, StringComparison.Ordinal);
        JsonElement listed = Assert.Single(_sandbox.Must("volume", "list", "--json").Json.EnumerateArray());
        Assert.Equal(32L << 20, listed.GetProperty("sizeBytes").GetInt64());
    }

    [Fact]
    public void AGrownDriveOfLevelNoneIsTakenOver()
    {
        _sandbox.Must("volume", "create", "data", "--level", "none", Member("data", 0));
        ServeProcess serve = _sandbox.Serve("data", "--frontend", "vhost-user");
        using VhostUserClient client = Attach(serve.Socket());
        long before = client.CapacityBytes;
        using (var truncate = System.Diagnostics.Process.Start("truncate", ["-s", $"{before * 2}", _sandbox.PathOf("data0.img")]))
        {
            truncate.WaitForExit();
        }

        RunOutput sized = _sandbox.Run("volume", "resize", "data", "--size", "1GiB");
        Assert.Equal(4, sized.ExitCode);
        Assert.Contains("Grow the drive", sized.Errors, StringComparison.Ordinal);
        _sandbox.Must("volume", "resize", "data");
        Assert.True(client.WaitForConfigChange(10_000));
        client.ReadConfig();
        Assert.Equal(before * 2, client.CapacityBytes);
    }

    [Fact]
    public void PinnedMemoryIsHeldWhileTheFrontEndIsAttached()
    {
        Create("data", "raid5", 3);
        ServeProcess serve = _sandbox.Serve("data", "--frontend", "vhost-user", "--pin-memory", "on", "--reactors", "0");
        long Held() => long.Parse(
            File.ReadLines($"/proc/{serve.Id}/status").Single(line => line.StartsWith("VmPin:", StringComparison.Ordinal))[6..^2],
            CultureInfo.InvariantCulture);
        long before = Held();
        using (VhostUserClient client = Attach(serve.Socket(), queues: 2))
        {
            Assert.True(SpinWait.SpinUntil(() => Held() > before, 20_000));
            DriverCalls.WriteAll(client, seed: 4, blocks: 64);
            DriverCalls.CheckAll(client, seed: 4, blocks: 64);
        }

        Assert.True(SpinWait.SpinUntil(() => Held() == before, 20_000));
        Assert.DoesNotContain("not held", serve.Errors, StringComparison.Ordinal);
    }

    [Fact]
    public void SystemdIsToldWhenTheVolumeIsReadyAndWhenItStops()
    {
        _sandbox.Must("volume", "create", "n", "--level", "none", "null:1GiB");
        string path = _sandbox.PathOf("notify");
        using var socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified) { ReceiveTimeout = 30_000 };
        socket.Bind(new UnixDomainSocketEndPoint(path));
        using var serve = new ServeProcess(_sandbox.Start(
            ["serve", "n", "--frontend", "vhost-user", "--json"], start => start.Environment["NOTIFY_SOCKET"] = path));
        serve.WaitUntilReady();
        Assert.Equal("READY=1", Receive(socket));
        Assert.Equal(0, serve.End(SigTerm));
        Assert.Equal("STOPPING=1", Receive(socket));
    }

    [Fact]
    public void ASystemdThatCannotBeReachedEndsNothing()
    {
        _sandbox.Must("volume", "create", "n", "--level", "none", "null:1GiB");
        using var serve = new ServeProcess(_sandbox.Start(
            ["serve", "n", "--frontend", "vhost-user", "--json"], start => start.Environment["NOTIFY_SOCKET"] = _sandbox.PathOf("nobody")));
        serve.WaitUntilReady();
        Assert.Equal(0, serve.End(SigTerm));
        Assert.Contains("does not take 'READY=1'", serve.Errors, StringComparison.Ordinal);
    }

    [Fact]
    public void ATerminalThatIsGoneLeavesTheSizeOfAnArrayAsItIs()
    {
        string[] drives = [.. Enumerable.Range(0, 3).Select(i => $"file:{_sandbox.PathOf($"m{i}")},size=33MiB")];
        _sandbox.Must(["volume", "create", "data", "--level", "raid5", "--size", "16MiB", .. drives]);
        ServeProcess serve = _sandbox.Serve("data", "--frontend", "vhost-user");
        Assert.Equal(0, Libc.kill(serve.Id, SigHup));

        // The answer comes after the signal was handled: resizing takes turns with it.
        _sandbox.Must("volume", "resize", "data", "--size", "17MiB");
        Assert.Equal(17 << 20, Size());
        Assert.Equal(0, Libc.kill(serve.Id, SigHup));
        Thread.Sleep(300);
        Assert.Equal(17 << 20, Size());
        Assert.Equal(0, serve.End(SigTerm));

        long Size() => _sandbox.Must("volume", "show", "data", "--json").Json.GetProperty("sizeBytes").GetInt64();
    }

    [Fact]
    public void AWrongValueOfAFrontendsOptionIsWrongUsage()
    {
        _sandbox.Must("volume", "create", "n", "--level", "none", "null:1GiB");
        RunOutput run = _sandbox.Run("serve", "n", "--frontend", "vhost-user", "--max-sessions", "0");
        Assert.Equal((2, true), (run.ExitCode, run.Errors.Contains("1 to 1024", StringComparison.Ordinal)));
    }

    [Fact]
    public void AControlClientThatReadsNothingDoesNotHoldUpTheEnd()
    {
        Create("data", "raid5", 3);
        ServeProcess serve = _sandbox.Serve("data", "--frontend", "vhost-user");
        using var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { SendTimeout = 500 };
        client.Connect(new UnixDomainSocketEndPoint(Path.Combine(_sandbox.State, "run", "data", "control.sock")));
        byte[] questions = Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat("{\"command\":\"show\"}\n", 1000)));
        try
        {
            while (true)
            {
                client.Send(questions);
            }
        }
        catch (SocketException e)
        {
            Assert.True(e.SocketErrorCode is SocketError.TimedOut or SocketError.WouldBlock or SocketError.ConnectionReset or SocketError.Shutdown, $"{e.SocketErrorCode}");
        }

        Assert.Equal(0, serve.End(SigTerm));
        Assert.Equal("optimal", ArrayHealth("data"));
    }

    [Fact]
    public void NonsenseOnTheControlSocketHarmsNothing()
    {
        _sandbox.Must("volume", "create", "n", "--level", "none", "null:1GiB");
        ServeProcess serve = _sandbox.Serve("n", "--frontend", "vhost-user");
        string path = Path.Combine(_sandbox.State, "run", "n", "control.sock");
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
        foreach (string line in (string[])["garbage", "{}", "{\"command\":\"fly\"}", "[1,2]", "null", "{\"command\":\"resize\",\"sizeBytes\":\"x\"}"])
        {
            JsonElement answer = Ask(path, line);
            Assert.False(answer.GetProperty("ok").GetBoolean());
            Assert.NotEmpty(answer.GetProperty("error").GetString()!);
        }

        Assert.True(Ask(path, "{\"command\":\"show\"}").GetProperty("ok").GetBoolean());
        Assert.Equal(0, serve.End(SigTerm));
    }

    [Fact]
    public void TheTextSaysHowToAttach()
    {
        _sandbox.Must("volume", "create", "n", "--level", "none", "null:1GiB");
        using System.Diagnostics.Process process = _sandbox.Start(["serve", "n", "--frontend", "vhost-user"]);
        var text = new StringBuilder();
        string? line;
        while ((line = process.StandardOutput.ReadLine()) is not null && !line.StartsWith("Serving as process", StringComparison.Ordinal))
        {
            text.AppendLine(line);
        }

        Assert.Equal(0, Libc.kill(process.Id, SigTerm));
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
        Assert.Contains("vhost-user-blk-pci", text.ToString(), StringComparison.Ordinal);
        Assert.Contains("gone when this process ends", text.ToString(), StringComparison.Ordinal);
        Assert.Contains("Reactors", text.ToString(), StringComparison.Ordinal);
    }

    private static string Receive(Socket socket)
    {
        byte[] buffer = new byte[256];
        return Encoding.UTF8.GetString(buffer, 0, socket.Receive(buffer));
    }

    private static JsonElement Ask(string path, string line)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 30_000 };
        socket.Connect(new UnixDomainSocketEndPoint(path));
        using var stream = new NetworkStream(socket);
        stream.Write(Encoding.UTF8.GetBytes(line + "\n"));
        using var reader = new StreamReader(stream);
        return JsonDocument.Parse(reader.ReadLine()!).RootElement;
    }

    private static VhostUserClient Attach(string socket, int queues = 1) =>
        new(new VhostUserClientOptions { SocketPath = socket, Queues = queues, Depth = 16, BufferBytes = BlockBytes });

    private byte[][] SumMembers(int members) => [.. Enumerable.Range(0, members).Select(i => _sandbox.Sum($"data{i}.img"))];

    private void Create(string name, string level, int members) => _sandbox.Must(
        ["volume", "create", name, "--level", level, .. Enumerable.Range(0, members).Select(i => Member(name, i))]);

    private string Member(string volume, int index) => $"file:{_sandbox.PathOf($"{volume}{index}.img")},size=48MiB";

    private string ArrayHealth(string name) =>
        _sandbox.Must("volume", "show", name, "--json").Json.GetProperty("array").GetProperty("health").GetString()!;
}
