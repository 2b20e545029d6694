// Arrays that get another shape by a command, of volumes that nobody serves: what the command says, the record, and the
// superblocks.

using System.Text.Json;
using Polyblk.Cli.CommandLine;
using Polyblk.Host.State;

namespace Polyblk.Cli.Tests;

public sealed class ShapeTests : IDisposable
{
    private const int DriveBytes = 4 << 20;

    private readonly string _directory = Directory.CreateTempSubdirectory("pbt").FullName;

    private VolumeStore Store => new(new StateDirectories(_directory, Path.Combine(_directory, "run")));

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task DrivesThatHaveAllGrownAreTakenOver()
    {
        string[] drives = [New("a"), New("b"), New("c")];
        await MustAsync(["volume", "create", "data", "--level", "raid0", .. drives]);
        long before = await SizeAsync();
        Assert.Contains("have not all grown", (await RunAsync("volume", "grow", "data")).Errors, StringComparison.Ordinal);
        foreach (string drive in drives)
        {
            using FileStream file = File.OpenWrite(drive);
            file.SetLength(2 * DriveBytes);
        }

        Assert.Contains("now", (await MustAsync("volume", "grow", "data")).Output, StringComparison.Ordinal);
        Assert.Equal(before + (3 * DriveBytes), await SizeAsync());
        Assert.Equal(before + (3 * DriveBytes), Store.Get("data").SizeBytes);
        Assert.Contains("have not all grown", (await RunAsync("volume", "grow", "data")).Errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task DrivesAreAddedAndTheRestIsShown()
    {
        await MustAsync("volume", "create", "data", "--level", "raid0", New("a"), New("b"), New("c"));
        long before = await SizeAsync();
        Assert.Contains(
            "spread over all when it is served next", (await MustAsync("volume", "reshape", "data", "--add", New("d"), New("e"))).Output, StringComparison.Ordinal);
        Assert.Equal(["a", "b", "c", "d", "e"], Store.Get("data").Drives.Select(Path.GetFileName));
        JsonElement array = (await MustAsync("volume", "show", "data", "--json")).Json.GetProperty("array");
        JsonElement reshape = array.GetProperty("reshape");
        Assert.Equal(
            (3, 5, 0, true, 5),
            (reshape.GetProperty("oldMembers").GetInt32(), reshape.GetProperty("newMembers").GetInt32(), reshape.GetProperty("progress").GetProperty("doneBytes").GetInt32(),
                reshape.GetProperty("progress").GetProperty("isLeft").GetBoolean(), array.GetProperty("members").GetArrayLength()));
        Assert.Equal(before, await SizeAsync());
        Assert.Contains("Reshape from 3 to 5 drives", (await MustAsync("volume", "show", "data")).Output, StringComparison.Ordinal);
        Assert.Contains("reshaping 0 %", (await MustAsync("volume", "list")).Output, StringComparison.Ordinal);
        Assert.Contains("being reshaped", (await RunAsync("volume", "reshape", "data", "--add", New("f"))).Errors, StringComparison.Ordinal);
        Assert.DoesNotContain(Store.Get("data").Drives, d => d.EndsWith("/f", StringComparison.Ordinal));
    }

    [Fact]
    public async Task WhatCannotBeAddedLeavesTheRecord()
    {
        await MustAsync("volume", "create", "data", "--level", "raid1", New("a"), New("b"));
        Assert.Contains("raid0, raid5 and raid6", (await RunAsync("volume", "reshape", "data", "--add", New("c"))).Errors, StringComparison.Ordinal);
        Assert.Contains("belongs to volume", (await RunAsync("volume", "reshape", "data", "--add", PathOf("b"))).Errors, StringComparison.Ordinal);
        Assert.Equal(["a", "b"], Store.Get("data").Drives.Select(Path.GetFileName));
    }

    private async Task<long> SizeAsync() =>
        (await MustAsync("volume", "show", "data", "--json")).Json.GetProperty("sizeBytes").GetInt64();

    private string PathOf(string name) => Path.Combine(_directory, name);

    /// <summary>Makes an empty drive.</summary>
    private string New(string name)
    {
        File.WriteAllBytes(PathOf(name), new byte[DriveBytes]);
        return PathOf(name);
    }

    private async Task<Run> MustAsync(params string[] arguments)
    {
        Run run = await RunAsync(arguments);
        Assert.True(run.Code == 0, $"{string.Join(' ', arguments)}: {run.Code}, {run.Errors}");
        return run;
    }

    private async Task<Run> RunAsync(params string[] arguments)
    {
        using var output = new StringWriter();
        using var errors = new StringWriter();
        int code = await CliProgram.RunAsync([.. arguments, "--state", _directory], output, errors);
        return new Run(code, output.ToString(), errors.ToString());
    }

    private sealed record Run(int Code, string Output, string Errors)
    {
        public JsonElement Json => JsonDocument.Parse(Output).RootElement;
    }
}
