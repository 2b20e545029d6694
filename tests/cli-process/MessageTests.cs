// What users meet when something is not as they thought: each message names the cause, and nothing is left behind.

using System.Diagnostics;
using System.Text.Json;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Host;
using Polyblk.Tests;
using SystemProcess = System.Diagnostics.Process;

namespace Polyblk.Cli.Process.Tests;

public sealed class MessageTests : IDisposable
{
    private const int SigTerm = 15;

    private readonly PolyblkSandbox _sandbox = new();

    public void Dispose() => _sandbox.Dispose();

    [Theory]
    [InlineData(2, "--quick and --full", "compare", "--quick", "--full")]
    [InlineData(2, "--preset and --full", "compare", "--preset", "random", "--full")]
    [InlineData(2, "--for takes vm or container or shared, not 'gpu'", "compare", "--for", "gpu")]
    [InlineData(2, "--restarts takes true or false, not 'maybe'", "compare", "--restarts", "maybe")]
    [InlineData(2, "is no size for --size", "volume", "create", "x", "--level", "raid0", "--size", "8EiB", "ram:16M", "ram:16M")]
    [InlineData(3, "no folder /nonexist for the socket", "serve", "toy", "--frontend", "nbd", "--socket", "/nonexist/x.sock")]
    [InlineData(
        2, "given for several frontends", "serve", "toy", "--frontend", "nbd", "--socket", "/tmp/a", "--frontend", "nbd", "--socket", "/tmp/../tmp/a")]
    [InlineData(2, "control characters", "volume", "create", "x", "--level", "raid0", "/dev/a\u001b[2Jb")]
    public void WrongWordsAreToldByTheirOwnName(int code, string message, params string[] arguments)
    {
        _sandbox.Must("volume", "create", "toy", "--level", "raid0", "ram:16M", "ram:16M");
        RunOutput run = _sandbox.Run(arguments);
        Assert.Equal(code, run.ExitCode);
        Assert.Contains(message, run.Errors, StringComparison.Ordinal);
        Assert.DoesNotContain("System.", run.Errors, StringComparison.Ordinal);
        Assert.DoesNotContain('\u001b', run.Errors);
        Assert.False(Directory.Exists("/nonexist"));
    }

    [Fact]
    public void AMissingScratchDirectoryIsNotCalledFull()
    {
        RunOutput run = _sandbox.Run(
            "compare", "--quick", "--methods", "array", "--dir", "/nonexist", "--simulated", "0", "--restarts", "false");
        Assert.NotEqual(0, run.ExitCode);
        Assert.Contains("no directory /nonexist", run.Errors, StringComparison.Ordinal);
    }

    /// <summary>Without the driver both say what the host lacks; with it, what is not there is not found.</summary>
    [Fact]
    public void UblkCommandsHaveTheSameExitCodes()
    {
        int list = _sandbox.Run("ublk", "list").ExitCode;
        Assert.Contains(list, (int[])[0, 5]);
        Assert.Equal(list == 0 ? 3 : list, _sandbox.Run("ublk", "delete", "4000000").ExitCode);
    }

    [Fact]
    public void NobodyIsAdvisedToChangeAFileThatIsNoDrive()
    {
        string file = _sandbox.PathOf("passwd");
        File.WriteAllText(file, new string('x', 1300));
        RunOutput run = _sandbox.Run("volume", "create", "x", "--level", "none", file);
        Assert.NotEqual(0, run.ExitCode);
        Assert.DoesNotContain("truncate", run.Errors, StringComparison.Ordinal);
        Assert.Contains("1300 bytes, not a multiple", run.Errors, StringComparison.Ordinal);
    }

    [Fact]
    public void AHardLinkIsTheSameDrive()
    {
        string a = Image("a"), b = _sandbox.PathOf("b.img");
        using (SystemProcess link = SystemProcess.Start("ln", [a, b]))
        {
            link.WaitForExit();
        }

        RunOutput run = _sandbox.Run("volume", "create", "x", "--level", "raid1", a, b);
        Assert.Equal(2, run.ExitCode);
        Assert.Contains("are the same drive", run.Errors, StringComparison.Ordinal);
    }

    /// <summary>A FIFO that nobody writes to, named and found: neither holds anybody up.</summary>
    [Fact]
    public void AFifoAmongDrivesIsPassedOver()
    {
        _sandbox.Must("volume", "create", "data", "--level", "raid1", Image("a"), Image("b"));
        _sandbox.Must("volume", "delete", "data");
        string fifo = _sandbox.PathOf("c.img");
        using (SystemProcess made = SystemProcess.Start("mkfifo", [fifo]))
        {
            made.WaitForExit();
        }

        Assert.Single(_sandbox.Must("volume", "list", "--scan", _sandbox.Directory, "--json").Json.EnumerateArray());
        RunOutput named = _sandbox.Must("volume", "list", "--scan", fifo, "--json");
        Assert.Contains("neither a file nor a block device", named.Errors, StringComparison.Ordinal);
        Assert.Equal(3, _sandbox.Run("volume", "import", fifo).ExitCode);
        _sandbox.Must("volume", "import", fifo, _sandbox.PathOf("a.img"), _sandbox.PathOf("b.img"));
    }

    [Fact]
    public void NamesOfOthersStayOnTheirLine()
    {
        File.WriteAllBytes(_sandbox.PathOf("x\nerror: \u001b[31mall is lost"), [1]);
        using (FileStream broken = File.Create(_sandbox.PathOf("y\nwarning: \u001b[31mlook here")))
        {
            broken.SetLength(16 << 20);
            broken.Write("POLYBLK\u0001 and no sense"u8);
        }

        RunOutput run = _sandbox.Must("volume", "list", "--scan", _sandbox.Directory);
        Assert.DoesNotContain('\u001b', run.Output + run.Errors);
        string line = Assert.Single(run.Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.Contains(@"y\nwarning: \x1b[31mlook here", line, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("2>&-", 3)]
    [InlineData("2>/dev/full", 3)]
    [InlineData(">&- 2>&-", 3)]
    [InlineData("<&- >&- 2>&-", 3)]
    [InlineData(">/dev/full 2>/dev/full", 3)]
    public void AStandardStreamThatCannotBeWrittenChangesNoExitCode(string streams, int code)
    {
        string program = $"exec {PolyblkSandbox.ShellWords} volume show nothing --state '{_sandbox.State}' {streams}";
        using SystemProcess shell = SystemProcess.Start("sh", ["-c", program]);
        shell.WaitForExit();
        Assert.Equal(code, shell.ExitCode);
    }

    [Fact]
    public void DrivesAreNotChangedWhereNoRecordCanBe()
    {
        string a = Image("a"), b = Image("b");
        byte[] before = File.ReadAllBytes(a);
        Directory.CreateDirectory(_sandbox.State);
        File.WriteAllText(Path.Combine(_sandbox.State, "volumes"), "in the way");
        RunOutput run = _sandbox.Run("volume", "create", "x", "--level", "raid1", a, b);
        Assert.Equal(5, run.ExitCode);
        Assert.Contains("volumes", run.Errors, StringComparison.Ordinal);
        Assert.Equal(before, File.ReadAllBytes(a));
    }

    [Fact]
    public void ARecordThatCannotBeWrittenAfterwardsTellsHowTheArrayIsTakenOver()
    {
        string a = Image("a"), b = Image("b");
        string record = Path.Combine(_sandbox.State, "volumes", "x.json");
        Directory.CreateDirectory(record);
        RunOutput run = _sandbox.Run("volume", "create", "x", "--level", "raid1", a, b);
        Assert.Equal(5, run.ExitCode);
        Assert.Contains($"polyblk volume import {a} {b}", run.Errors, StringComparison.Ordinal);
        Directory.Delete(record);
        _sandbox.Must("volume", "import", a, b);
    }

    /// <summary>The cleaning up of the second, which was never made, must not be what is told.</summary>
    [Fact]
    public void TheReasonIsToldAndWhatWasMadeIsRemoved()
    {
        string a = _sandbox.PathOf("a.img");
        RunOutput run = _sandbox.Run(
            "volume", "create", "x", "--level", "raid1", $"file:{a},size=16MiB", "file:/nonexist/b.img,size=16MiB");
        Assert.NotEqual(0, run.ExitCode);
        Assert.StartsWith("error: /nonexist/b.img: it cannot be created", run.Errors, StringComparison.Ordinal);
        Assert.Single(run.Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.False(File.Exists(a));
    }

    [Fact]
    public void AWipeIsConfirmed()
    {
        string a = Image("a"), b = Image("b");
        _sandbox.Must("volume", "create", "data", "--level", "raid1", a, b);
        RunOutput refused = _sandbox.Run("volume", "delete", "data", "--wipe");
        Assert.Equal(4, refused.ExitCode);
        Assert.Contains("--yes", refused.Errors, StringComparison.Ordinal);
        JsonElement array = _sandbox.Must("volume", "show", "data", "--json").Json.GetProperty("array");
        Assert.Equal("dirty", array.GetProperty("health").GetString());
        JsonElement deleted = _sandbox.Must("volume", "delete", "data", "--wipe", "--yes", "--json").Json;
        Assert.Equal("deleted", deleted.GetProperty("status").GetString());
        Assert.Empty(_sandbox.Must("volume", "list", "--scan", _sandbox.Directory, "--json").Json.EnumerateArray());
    }

    [Fact]
    public void EveryCommandThatChangesAVolumeSpeaksJson()
    {
        string a = Image("a"), b = Image("b");
        _sandbox.Must("volume", "create", "data", "--level", "raid1", "--size", "8MiB", a, b);
        Assert.Equal("forgotten", _sandbox.Must("volume", "delete", "data", "--json").Json.GetProperty("status").GetString());
        JsonElement imported = _sandbox.Must("volume", "import", a, b, "--json").Json;
        Assert.Equal("data", imported.GetProperty("name").GetString());
        Assert.Equal("stopped", _sandbox.Must("volume", "stop", "data", "--json").Json.GetProperty("status").GetString());
        ServeProcess serve = _sandbox.Serve("data", "--frontend", "nbd");
        JsonElement resized = _sandbox.Must("volume", "resize", "data", "--json").Json;
        Assert.Equal("served", resized.GetProperty("status").GetString());
        Assert.True(resized.GetProperty("sizeBytes").GetInt64() > 8 << 20);
        Assert.Equal("stopped", _sandbox.Must("volume", "stop", "data", "--json").Json.GetProperty("status").GetString());
        serve.WaitForExit();
        Assert.Equal(0, serve.ExitCode);
    }

    /// <summary>One by vhost-user and one by NBD, both of this process; the export that nobody uses stays up too.</summary>
    [Fact]
    public void AConnectedConsumerKeepsItsVolume()
    {
        _sandbox.Must("volume", "create", "fast", "--level", "raid0", "ram:32MiB", "ram:32MiB");
        ServeProcess serve = _sandbox.Serve("fast", "--frontend", "vhost-user", "--frontend", "nbd", "--frontend", "vhost-user");
        var client = new VhostUserClient(new VhostUserClientOptions { SocketPath = serve.Socket(0), Depth = 4, BufferBytes = 4096 });
        RunOutput refused = _sandbox.Run("volume", "stop", "fast");
        Assert.Equal(4, refused.ExitCode);
        Assert.Contains($"fast/vhost-user/0 by process {Environment.ProcessId} (", refused.Errors, StringComparison.Ordinal);
        Assert.Contains("--force", refused.Errors, StringComparison.Ordinal);
        client.Detach();
        client.Dispose();

        var start = new ProcessStartInfo("qemu-io", ["-f", "raw", $"nbd+unix:///fast?socket={serve.Socket(1)}"])
        {
            RedirectStandardInput = true, RedirectStandardOutput = true,
        };
        using (SystemProcess io = SystemProcess.Start(start)!)
        {
            io.StandardInput.WriteLine("read 0 4k");
            io.StandardInput.Flush();
            Assert.Contains("read 4096", ReadUntil(io.StandardOutput, "read 4096"), StringComparison.Ordinal);
            refused = _sandbox.Run("volume", "stop", "fast");
            Assert.Equal(4, refused.ExitCode);
            Assert.Contains($"process {io.Id} (qemu-io)", refused.Errors, StringComparison.Ordinal);
            JsonElement live = _sandbox.Must("volume", "show", "fast", "--json").Json.GetProperty("live");
            Assert.All(live.GetProperty("exports").EnumerateArray(), e => Assert.Equal("serving", e.GetProperty("state").GetString()));
            _sandbox.Must("volume", "stop", "fast", "--force");
            io.StandardInput.Close();
            io.WaitForExit();
        }

        serve.WaitForExit();
        Assert.Equal(0, serve.ExitCode);
    }

    /// <summary>
    /// The framework ends the process where it looks for OpenSSL and finds none that it knows: so it must not look.
    /// </summary>
    [Fact]
    public void AVolumeIsServedWhereThereIsNoOpenSsl()
    {
        _sandbox.Must("volume", "create", "fast", "--level", "raid0", "ram:32MiB", "ram:32MiB");
        const string withoutOpenSsl = """
            for file in $(ldconfig -p | sed -n 's/.*=> \(.*lib\(ssl\|crypto\)[0-9]*\.so.*\)/\1/p'); do
              mount --bind /dev/null "$file" || exit 99
            done
            exec "$@"
            """;
        string[] polyblk = [.. PolyblkCommand.Words, "serve", "fast", "--state", _sandbox.State, "--json"];
        string[] doors = ["--frontend", "vhost-user", "--frontend", "nbd", "--frontend", "virtio-iothread"];
        var start = new ProcessStartInfo("unshare", ["-m", "sh", "-c", withoutOpenSsl, "sh", .. polyblk, .. doors])
        {
            RedirectStandardOutput = true, RedirectStandardError = true,
        };
        start.Environment["PATH"] = $"{Environment.GetEnvironmentVariable("PATH")}:/usr/sbin:/sbin";
        using var serve = new ServeProcess(SystemProcess.Start(start)!);
        serve.WaitUntilReady();
        Assert.Equal(0, serve.End(SigTerm));
    }

    [Fact]
    public void AMissingMemberIsNamedByItsDrive()
    {
        string[] drives = [Image("a"), Image("b"), Image("c")];
        _sandbox.Must(["volume", "create", "data", "--level", "raid5", .. drives]);
        _sandbox.Serve("data", "--frontend", "nbd").End(SigTerm);
        string uuid = Members("data")[1].GetProperty("uuid").GetString()!;
        File.Move(drives[1], drives[1] + ".away");
        JsonElement missing = Members("data")[1];
        Assert.Equal("missing", missing.GetProperty("state").GetString());
        Assert.Equal(drives[1], missing.GetProperty("lastDrive").GetString());
        Assert.Equal(uuid, missing.GetProperty("uuid").GetString());
        string shown = _sandbox.Must("volume", "show", "data").Output;
        Assert.Contains($"last seen at {drives[1]}, member UUID {uuid}", shown, StringComparison.Ordinal);
        string listed = _sandbox.Must("volume", "list").Output;
        Assert.Contains("degraded", listed.Split('\n')[1], StringComparison.Ordinal);
        Assert.Contains("(1 of 3 out)", listed, StringComparison.Ordinal);

        // Nothing of it is there: the list says so instead of nothing.
        File.Move(drives[0], drives[0] + ".away");
        File.Move(drives[2], drives[2] + ".away");
        Assert.Contains("failed (3 of 3 out)", _sandbox.Must("volume", "list").Output, StringComparison.Ordinal);
        Assert.All(Members("data"), m => Assert.Equal("missing", m.GetProperty("state").GetString()));
    }

    private static string ReadUntil(StreamReader reader, string text)
    {
        var read = new System.Text.StringBuilder();
        while (!read.ToString().Contains(text, StringComparison.Ordinal) && reader.Read() is int c and >= 0)
        {
            read.Append((char)c);
        }

        return read.ToString();
    }

    private JsonElement[] Members(string volume) =>
        [.. _sandbox.Must("volume", "show", volume, "--json").Json.GetProperty("array").GetProperty("members").EnumerateArray()];

    private string Image(string name)
    {
        string path = _sandbox.PathOf(name + ".img");
        using FileStream file = File.Create(path);
        file.SetLength(16 << 20);
        return path;
    }
}
