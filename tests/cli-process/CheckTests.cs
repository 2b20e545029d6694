// Members that differ silently are found and made to agree; a drive that is late is waited for. Real processes.

using System.Text.Json;
using Polyblk.Host;

namespace Polyblk.Cli.Process.Tests;

public sealed class CheckTests : IDisposable
{
    private const int SigTerm = 15;
    private const long DataOffset = 1 << 20;

    private readonly PolyblkSandbox _sandbox = new();

    public void Dispose() => _sandbox.Dispose();

    [Theory]
    [InlineData("raid1", 2, "madeToAgree")]
    [InlineData("raid6", 4, "repaired")]
    public void WhatDiffersIsFoundAndRepaired(string level, int members, string mended)
    {
        Create(level, members);
        ServeProcess serve = _sandbox.Serve("data", "--frontend", "vhost-user");
        RunOutput sound = _sandbox.Must("volume", "check", "data", "--wait");
        Assert.Contains("check complete: members agree", sound.Errors + sound.Output, StringComparison.Ordinal);

        // Not by the runtime's files: it would take the lock that the server has.
        string write = $"printf 'not what was written' | dd of={_sandbox.PathOf("m1")} oflag=seek_bytes seek={DataOffset + (3 << 20)} conv=notrunc,fsync";
        using (var dd = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("sh", ["-c", write]) { RedirectStandardError = true })!)
        {
            dd.WaitForExit();
            Assert.Equal(0, dd.ExitCode);
        }

        RunOutput found = _sandbox.Run("volume", "check", "data", "--wait", "--json");
        Assert.Equal(1, found.ExitCode);
        JsonElement check = found.Json.GetProperty("array").GetProperty("check");
        Assert.Equal((1, 0), (check.GetProperty("differing").GetInt32(), check.GetProperty(mended).GetInt32()));
        Assert.True(check.GetProperty("firstOffset").GetInt64() > 0);
        Assert.Equal(1, _sandbox.Run("volume", "repair", "data", "--wait").ExitCode);
        check = _sandbox.Must("volume", "show", "data", "--json").Json.GetProperty("array").GetProperty("check");
        Assert.Equal((0, 1, true), (check.GetProperty("differing").GetInt32(), check.GetProperty(mended).GetInt32(), check.GetProperty("repair").GetBoolean()));
        Assert.Contains("Members compared: repair complete", _sandbox.Must("volume", "show", "data").Output, StringComparison.Ordinal);
        _sandbox.Must("volume", "check", "data", "--wait");
        _sandbox.Must("volume", "check", "data", "--stop");
        _sandbox.Must("volume", "set", "data", "--check-every", "off");
        Assert.Equal(0, _sandbox.Must("volume", "show", "data", "--json").Json.GetProperty("array").GetProperty("checkEverySeconds").GetInt64());
        _sandbox.Must("volume", "set", "data", "--check-every", "30d");
        Assert.Equal(0, serve.End(SigTerm));
        // What was found last is kept, and so is how often members are compared.
        string shown = _sandbox.Must("volume", "show", "data").Output;
        Assert.Contains("Members compared: check complete: members agree", shown, StringComparison.Ordinal);
        Assert.Contains("; every 30d", shown, StringComparison.Ordinal);
        Assert.Contains("every 36h", _sandbox.Must("volume", "set", "data", "--check-every", "36h").Output, StringComparison.Ordinal);
        Assert.Contains("; every 36h", _sandbox.Must("volume", "show", "data").Output, StringComparison.Ordinal);
        RunOutput stopped = _sandbox.Run("volume", "check", "data");
        Assert.Equal(4, stopped.ExitCode);
        Assert.Contains("Serve it first", stopped.Errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ADriveThatIsLateIsWaitedForAndNothingStartsWithoutIt()
    {
        Create("raid1", 2);
        string drive = _sandbox.PathOf("m1"), away = drive + ".away";
        File.Move(drive, away);
        RunOutput refused = _sandbox.Run("serve", "data", "--frontend", "vhost-user", "--wait", "1");
        Assert.Equal(4, refused.ExitCode);
        Assert.Contains("--allow-degraded", refused.Errors, StringComparison.Ordinal);
        Task back = Task.Run(async () =>
        {
            await Task.Delay(1500);
            File.Move(away, drive);
        });
        ServeProcess serve = _sandbox.Serve("data", "--frontend", "vhost-user", "--wait", "60", "--allow-degraded");
        await back;
        Assert.Equal("optimal", _sandbox.Must("volume", "show", "data", "--json").Json.GetProperty("array").GetProperty("health").GetString());
        Assert.Equal(0, serve.End(SigTerm));

        // Where it does not come, the start goes on as it is allowed to.
        File.Move(drive, away);
        serve = _sandbox.Serve("data", "--frontend", "vhost-user", "--wait", "1", "--allow-degraded");
        Assert.Equal("degraded", _sandbox.Must("volume", "show", "data", "--json").Json.GetProperty("array").GetProperty("health").GetString());
        Assert.Equal(0, serve.End(SigTerm));
    }

    private void Create(string level, int members) => _sandbox.Must(
        ["volume", "create", "data", "--level", level, .. Enumerable.Range(0, members).Select(i => $"file:{_sandbox.PathOf($"m{i}")},size=24MiB")]);
}
