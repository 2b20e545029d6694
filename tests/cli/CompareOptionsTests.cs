using System.CommandLine;
using Polyblk.Cli.CommandLine;
using Polyblk.Compare.Workloads;
using Polyblk.Host;

namespace Polyblk.Cli.Tests;

/// <summary>What a command line of <c>compare</c> means, before anything is measured.</summary>
public sealed class CompareOptionsTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("polyblk-options-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task JobFilesAreWorkloadsByTheirNames()
    {
        CompareRequest request = await ReadAsync("--fio", JobFile("a.fio"), "--fio", JobFile("sub/b.fio"));
        Assert.Equal(["a", "b"], request.Workloads.Select(w => w.Name));
    }

    [Theory]
    [InlineData("a.fio", "sub/a.fio")]
    [InlineData("a.fio", "a.job")]
    public async Task TwoJobFilesOfOneNameAreRefusedBeforeAnythingIsMeasured(string first, string second)
    {
        RefusalException e = await Assert.ThrowsAsync<RefusalException>(() => ReadAsync("--fio", JobFile(first), "--fio", JobFile(second)));
        Assert.Equal(RefusalKind.Invalid, e.Kind);
        Assert.StartsWith("Two workloads would be called 'a'", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AJobFileWithThePublishedWorkloadsMustNotBeCalledAsOneOfThem()
    {
        string file = JobFile($"{Presets.Quick[0].Name}.fio");
        Assert.Single((await ReadAsync("--fio", file)).Workloads);
        RefusalException e = await Assert.ThrowsAsync<RefusalException>(() => ReadAsync("--quick", "--fio", file));
        Assert.Contains(Presets.Quick[0].Name, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AJobFileThatIsNotThereIsSaidByItsExitCode()
    {
        Assert.Equal(RefusalKind.NotFound, (await Assert.ThrowsAsync<RefusalException>(() => ReadAsync("--fio", Path.Combine(_folder, "none.fio")))).Kind);
        Assert.Equal(RefusalKind.NotFound, (await Assert.ThrowsAsync<RefusalException>(() => ReadAsync("--fio", Path.Combine(_folder, "none", "a.fio")))).Kind);
    }

    [Theory]
    [InlineData("--vantage", "guest", "--guest-image", "/none/image")]
    [InlineData("--guest-kernel", "/none/vmlinuz", "--guest-initrd", "/none/initrd")]
    public void AFileForTheMachineThatIsNotThereIsSaidByItsExitCode(params string[] words)
    {
        RefusalException e = Assert.Throws<RefusalException>(() => ReadGuest(words));
        Assert.Equal(RefusalKind.NotFound, e.Kind);
        Assert.Contains("/none/", e.Message, StringComparison.Ordinal);
    }

    /// <summary>A machine that has another one in it needs more processors.</summary>
    [Theory]
    [InlineData(2, "--vantage", "guest")]
    [InlineData(2, "--inside-guest")]
    [InlineData(4, "--inside-guest", "--vantage", "host,guest")]
    [InlineData(3, "--inside-guest", "--vantage", "guest", "--guest-cpus", "3")]
    public void TheMachineHasAsManyProcessorsAsItNeedsUnlessTold(int expected, params string[] words) => Assert.Equal(expected, ReadGuest(words).Cpus);

    [Fact]
    public void TheComparisonInAMachineGetsEachValueWithItsOption()
    {
        (string a, string b) = (JobFile("a.fio"), JobFile("sub/b.fio"));
        ParseResult parsed = new CompareCommand([]).Build().Parse(["--fio", a, "--fio", b, "--full", "--rounds", "2", "--dir", "/var/tmp", "--out", "here"]);
        Assert.Empty(parsed.Errors);
        string command = CompareInsideGuest.InnerCommand(parsed, [], out IReadOnlyList<string> files);
        Assert.Equal([a, b], files);
        Assert.Contains("'--fio' '/etc/fio/a.fio' '--fio' '/etc/fio/b.fio'", command, StringComparison.Ordinal);
        Assert.Contains("'--full'", command, StringComparison.Ordinal);
        Assert.Contains("'--rounds' '2'", command, StringComparison.Ordinal);
        Assert.Contains("'--dir' '/scratch'", command, StringComparison.Ordinal);
        Assert.DoesNotContain("'here'", command, StringComparison.Ordinal);
    }

    [Fact]
    public void WhereResultsCannotBeWrittenIsSaidBeforeAnythingIsMeasured()
    {
        string kept = JobFile("kept.json");
        string before = File.ReadAllText(kept);
        (CompareOptions options, ParseResult parsed) = Parse("--json", kept, "--out", Path.Combine(_folder, "new", "results"));
        options.CheckResultPlaces(parsed);
        Assert.Equal(before, File.ReadAllText(kept));
        Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(_folder, "new", "results")));
        AssertRefused(ExitCode.NotFound, "--json", Path.Combine(_folder, "none", "results.json"));
        AssertRefused(ExitCode.HostLacks, "--json", _folder);
        AssertRefused(ExitCode.HostLacks, "--out", kept);
    }

    private static CompareGuestRequest ReadGuest(string[] words)
    {
        var options = new CompareGuestOptions();
        var command = new Command("compare");
        foreach (Option option in options.All)
        {
            command.Options.Add(option);
        }

        return options.Read(command.Parse(words));
    }

    private static void AssertRefused(int code, string option, string path)
    {
        (CompareOptions options, ParseResult parsed) = Parse(option, path);
        RefusalException e = Assert.Throws<RefusalException>(() => options.CheckResultPlaces(parsed));
        Assert.Equal(code, ExitCode.Of(e.Kind));
        Assert.StartsWith($"{option} {path} cannot be written: ", e.Message, StringComparison.Ordinal);
    }

    private static async Task<CompareRequest> ReadAsync(params string[] words)
    {
        (CompareOptions options, ParseResult parsed) = Parse(words);
        return await options.ReadAsync(parsed, null, 1, CancellationToken.None);
    }

    private static (CompareOptions Options, ParseResult Parsed) Parse(params string[] words)
    {
        var options = new CompareOptions();
        var command = new Command("compare");
        foreach (Option option in options.All)
        {
            command.Options.Add(option);
        }

        ParseResult parsed = command.Parse(words);
        Assert.Empty(parsed.Errors);
        return (options, parsed);
    }

    private string JobFile(string name)
    {
        string path = Path.Combine(_folder, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, "[a]\nrw=read\n");
        return path;
    }
}
