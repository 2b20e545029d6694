// ./test itself, with a stand-in for the SDK: how it runs projects side by side, and what it makes of how they end.
//
// Theory of operation: a small tree has ./test, projects that say what they need, and for each a few lines of bash that stand for
// its tests. They wait for files that others make, so that what must happen at the same time is proven without a clock: if it did
// not, they would fail.

using System.Diagnostics;
using System.Globalization;

namespace Polyblk.Architecture.Tests;

public sealed class TestCommandTests : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(2);

    /// <summary>
    /// Stands for dotnet. A build leaves a note for later where the tree has a link of its own (the file "linking"); tests and
    /// that link are lines of bash, with a way to wait for a file and to say how many tests there were.
    /// </summary>
    private const string StandIn = """
        await() { for turn in $(seq 1200); do [ ! -e $1 ] || return 0; sleep 0.05; done; echo "waited in vain for $1"; exit 9; }
        counts() { echo "<Counters total=\"$1\" executed=\"$2\" passed=\"$3\" />" >artifacts/test-logs/$name.trx; }
        case $1 in
          --version) echo 10.0.100; exit ;;
          test) name=$(basename $2 .dll) ;;
          build)
            case "$*" in
              *LinkLater=true*) [ ! -e linking ] || { mkdir -p artifacts/link-later; echo native.csproj >artifacts/link-later/native; }; exit ;;
              *) name=linking ;;
            esac ;;
        esac
        echo begin $name >>events
        touch began.$name
        . ./$name
        echo end $name >>events
        """;

    private readonly string _root = Directory.CreateTempSubdirectory("pbtest").FullName;

    public TestCommandTests()
    {
        Directory.CreateDirectory(Path.Combine(_root, "eng"));
        Directory.CreateDirectory(Path.Combine(_root, "tests", "setup"));
        foreach (string file in (string[])["test", "eng/dotnet.sh"])
        {
            File.Copy(Path.Combine(Repository.Root, file), Path.Combine(_root, file));
        }

        Script("tests/setup/install", "echo set-up >>events");
        Script("bin/dotnet", StandIn);
    }

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public void ProjectsRunSideBySideAndTheirCountsAreAdded()
    {
        Project("One", "unit", 10, "await began.Two.Tests; counts 3 3 3");
        Project("Two", "integration", 20, "await began.One.Tests; counts 5 4 4");
        (int status, string output) = Test(lanes: 2);
        Assert.True(status == 0, output);
        Assert.Equal("7 passed, 0 failed, 1 skipped", Lines(output)[^1]);
        Assert.Single(Lines(output), l => l.StartsWith("One.Tests", StringComparison.Ordinal) && l.Contains("3 passed   0 failed", StringComparison.Ordinal));
    }

    [Fact]
    public void InOneLaneOneRunsAfterTheOtherTheLongestFirst()
    {
        Project("Short", "guest", 2, "counts 1 1 1");
        Project("Long", "unit", 300, "counts 1 1 1");
        Project("Medium", "integration", null, "counts 1 1 1");
        (int status, string output) = Test(lanes: 1);
        Assert.True(status == 0, output);
        Assert.Equal(["set-up", .. new[] { "Long", "Medium", "Short" }.SelectMany(n => new[] { $"begin {n}.Tests", $"end {n}.Tests" })], Events());
    }

    [Fact]
    public void UnitTestsRunWhileProgramsAreLinkedAndTheOthersAfterwards()
    {
        Project("Guest", "guest", 300, "counts 1 1 1");
        Project("Unit", "unit", 1, "counts 1 1 1");
        Link("await began.Unit.Tests");
        (int status, string output) = Test(lanes: 2);
        Assert.True(status == 0, output);
        Assert.True(Events().IndexOf("begin Guest.Tests") > Events().IndexOf("end linking"), output);
        Assert.Contains(Lines(output), l => l.StartsWith("native programs", StringComparison.Ordinal));
    }

    [Fact]
    public void WithoutTheProgramsUnitTestsRunAndThatCountsAsOneFailure()
    {
        Project("Guest", "guest", 300, "counts 1 1 1");
        Project("Unit", "unit", 1, "counts 1 1 1");
        Link("echo 'no such symbol'; exit 1");
        (int status, string output) = Test(lanes: 1);
        Assert.Equal(1, status);
        Assert.Contains("no such symbol", output, StringComparison.Ordinal);
        Assert.Equal("1 passed, 1 failed, 0 skipped", Lines(output)[^1]);
        Assert.DoesNotContain("begin Guest.Tests", Events());
    }

    [Fact]
    public void ThoseOfOneWordRunOneAfterTheOtherBesideOthers()
    {
        Project("One", "unit", 30, "counts 1 1 1", "word");
        Project("Two", "unit", 20, "counts 1 1 1", "word");
        Project("Beside", "unit", 10, "await began.One.Tests; counts 1 1 1");
        (int status, string output) = Test(lanes: 3);
        Assert.True(status == 0, output);
        List<string> events = [.. Events().Where(e => !e.Contains("Beside", StringComparison.Ordinal))];
        Assert.Equal(["begin One.Tests", "end One.Tests", "begin Two.Tests", "end Two.Tests"], events);
    }

    [Fact]
    public void GuestsHaveHalfOfTheLanesWhileThereIsOtherWork()
    {
        Project("One", "guest", 30, "await began.Beside.Tests; counts 1 1 1");
        Project("Two", "guest", 20, "counts 1 1 1");
        Project("Beside", "unit", 10, "await began.Two.Tests; counts 1 1 1");
        (int status, string output) = Test(lanes: 2);
        Assert.True(status == 0, output);
        List<string> events = [.. Events().Where(e => e.EndsWith("One.Tests", StringComparison.Ordinal) || e.EndsWith("Two.Tests", StringComparison.Ordinal))];
        Assert.Equal(["begin One.Tests", "end One.Tests", "begin Two.Tests", "end Two.Tests"], events);
    }

    [Fact]
    public void GuestsHaveAllLanesWhenNothingElseIsLeft()
    {
        Project("One", "guest", 30, "await began.Two.Tests; counts 1 1 1");
        Project("Two", "guest", 20, "await began.One.Tests; counts 1 1 1");
        Project("Unit", "unit", 10, "counts 1 1 1");
        Project("Alone", "alone", 5, "counts 1 1 1");
        (int status, string output) = Test(lanes: 2);
        Assert.True(status == 0, output);
    }

    [Fact]
    public void WhatMustBeAloneIs()
    {
        Project("Alone", "alone", 300, "counts 1 1 1");
        Project("Other", "alone", 200, "counts 1 1 1");
        Project("Guest", "guest", 100, "counts 1 1 1");
        Project("Unit", "unit", 50, "counts 1 1 1");
        Link("await began.Unit.Tests");
        (int status, string output) = Test(lanes: 4);
        Assert.True(status == 0, output);
        Assert.Equal(["begin Alone.Tests", "end Alone.Tests", "begin Other.Tests", "end Other.Tests"], Events()[^4..]);
        Assert.Equal("4 passed, 0 failed, 0 skipped", Lines(output)[^1]);
    }

    [Fact]
    public void AFailureIsReportedBelowItsProjectsLineAndABrokenRunCounts()
    {
        Project("Bad", "unit", 1, "echo '  Failed One.That.Fails [1 s]'; echo '   because'; echo '  Passed Another [1 s]'; counts 2 2 1; exit 1");
        Project("Broken", "unit", 1, "echo 'out of the blue'; exit 134");
        Project("Good", "unit", 1, "counts 1 1 1");
        (int status, string output) = Test(lanes: 3);
        Assert.Equal(1, status);
        List<string> lines = Lines(output);
        int bad = lines.FindIndex(l => l.StartsWith("Bad.Tests", StringComparison.Ordinal));
        Assert.Equal(["  |   Failed One.That.Fails [1 s]", "  |    because"], lines[(bad + 1)..(bad + 3)]);
        Assert.Contains("  | out of the blue", lines);
        Assert.DoesNotContain(lines, l => l.Contains("Passed Another", StringComparison.Ordinal));
        Assert.Equal(["  Broken.Tests: it broke off (exit status 134)", "  One.That.Fails"], lines[(lines.IndexOf("failed:") + 1)..^1].Order(StringComparer.Ordinal));
        Assert.Equal("2 passed, 2 failed, 0 skipped", lines[^1]);
    }

    [Fact]
    public void WithQuickNothingIsInstalledAndNothingElseRun()
    {
        Project("Guest", "guest", 300, "counts 1 1 1");
        Project("Unit", "unit", 1, "counts 2 2 2");
        (int status, string output) = Test(lanes: 2, "--quick");
        Assert.True(status == 0, output);
        Assert.Equal(["begin Unit.Tests", "end Unit.Tests"], Events());
    }

    [Fact]
    public async Task WhoEndsItEndsWhatRuns()
    {
        Project("Endless", "unit", 1, "echo $$ >pid.new; mv pid.new pid; sleep 1000");
        using Process test = Start(lanes: 2);
        Task<string> output = test.StandardOutput.ReadToEndAsync();
        string pid = Path.Combine(_root, "pid");
        Assert.True(SpinWait.SpinUntil(() => File.Exists(pid), s_patience));
        using (var kill = Process.Start("kill", [test.Id.ToString(CultureInfo.InvariantCulture)]))
        {
            await kill.WaitForExitAsync();
        }

        Assert.True(test.WaitForExit(s_patience));
        Assert.Equal(143, test.ExitCode);
        string runs = $"/proc/{File.ReadAllText(pid).Trim()}/cmdline";
        Assert.True(SpinWait.SpinUntil(() => !File.Exists(runs) || !File.ReadAllText(runs).Contains(_root, StringComparison.Ordinal), s_patience));
        await output.WaitAsync(s_patience); // nobody holds its output any more
    }

    private static List<string> Lines(string output) => [.. output.Split('\n', StringSplitOptions.RemoveEmptyEntries)];

    private List<string> Events() => [.. File.ReadAllLines(Path.Combine(_root, "events"))];

    /// <summary>A project, and what stands for its tests.</summary>
    private void Project(string name, string stage, int? seconds, string tests, string? apart = null)
    {
        string folder = Directory.CreateDirectory(Path.Combine(_root, "tests", name)).FullName;
        string length = seconds is null ? "" : $"<TestSeconds>{seconds}</TestSeconds>\n";
        string word = apart is null ? "" : $"<TestApart>{apart}</TestApart>\n";
        File.WriteAllText(Path.Combine(folder, name + ".Tests.csproj"), $"<TestStage>{stage}</TestStage>\n{length}{word}");
        File.WriteAllText(Path.Combine(_root, name + ".Tests"), tests);
    }

    /// <summary>Programs are linked by themselves, by these lines.</summary>
    private void Link(string lines) => File.WriteAllText(Path.Combine(_root, "linking"), lines);

    private void Script(string path, string text)
    {
        string file = Path.Combine(_root, path);
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllText(file, "#!/bin/bash\n" + text + "\n");
        File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }

    private Process Start(int lanes, params string[] arguments)
    {
        var start = new ProcessStartInfo("bash", ["-c", "exec \"$@\" 2>&1", "bash", Path.Combine(_root, "test"), .. arguments]) { RedirectStandardOutput = true };
        start.Environment["PATH"] = $"{_root}/bin:{Environment.GetEnvironmentVariable("PATH")}";
        start.Environment["POLYBLK_TEST_LANES"] = lanes.ToString(CultureInfo.InvariantCulture);
        return Process.Start(start)!;
    }

    private (int Status, string Output) Test(int lanes, params string[] arguments)
    {
        using Process process = Start(lanes, arguments);
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        if (!process.WaitForExit(s_patience))
        {
            process.Kill(entireProcessTree: true);
            Assert.Fail($"./test did not end: {output.Result}");
        }

        return (process.ExitCode, output.Result);
    }
}
