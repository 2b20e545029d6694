using Polyblk.Cli.CommandLine;
using Polyblk.Frontends.Ublk;
using Polyblk.Host;

namespace Polyblk.Cli.Tests;

public sealed class UblkRecoverTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("pbt").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    /// <summary>There is no orphan of this state directory, or no driver at all: the option is not what is wrong.</summary>
    [Fact]
    public async Task RecoverTakesAllowDegraded()
    {
        (int code, string errors) = await RunAsync("ublk", "recover", "--allow-degraded", "--state", _directory);
        Assert.Contains(code, (int[])[ExitCode.NotFound, ExitCode.HostLacks]);
        Assert.DoesNotContain("--allow-degraded", errors, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task WhatItRunsIsACommandThatServeUnderstands(bool allowDegraded)
    {
        var device = new UblkDeviceInfo(0, "quiesced", 1, false, true, "data/ublk/0", "data", 1 << 20, 1, 128, UblkCopyMode.Copy, []);
        List<string> serve = UblkCommand.ServeArguments(device, _directory, allowDegraded);
        Assert.Equal(allowDegraded, serve.Contains("--allow-degraded"));
        (int code, string errors) = await RunAsync([.. serve]);
        Assert.Equal(ExitCode.NotFound, code);
        Assert.Contains("There is no volume 'data'", errors, StringComparison.Ordinal);
    }

    private static async Task<(int Code, string Errors)> RunAsync(params string[] arguments)
    {
        using var output = new StringWriter();
        using var errors = new StringWriter();
        return (await CliProgram.RunAsync(arguments, output, errors), errors.ToString());
    }
}
