using Polyblk.Compare.Report;
using Polyblk.Compare.Results;
using Polyblk.Compare.Verdict;
using Spectre.Console;
using static Polyblk.Compare.Tests.SmallComparison;

namespace Polyblk.Compare.Tests;

/// <summary>
/// What the terminal shows: the recorded results, and nothing that is computed another way than in the files; at any width all of
/// it.
/// </summary>
public sealed class TerminalReportTests
{
    private const int Wide = 200;

    [Fact]
    public void A_row_has_the_medians_of_the_recorded_runs_and_a_dash_for_what_was_not_taken()
    {
        string[] row = Row(Show(WithFigures()), "m ");
        Assert.Equal(["m", "150", "1.50", "150 %", "7.00", "21.0", "2.50"], row);
        string[] all = Row(Show(WithFigures(), isVerbose: true), "m ");
        Assert.Equal(["m", "150", "1.50", "150 %", "7.00", "21.0", "2.50", "614"], all); // p99.9 and the load's time have no row that took them
    }

    [Fact]
    public void Every_method_of_the_results_is_told_of_also_one_that_could_not_run()
    {
        MethodFacts missing = Method("virtio-iothread") with { Available = false, Reason = "QEMU's own disk is seen only from inside a VM", Remedies = ["polyblk compare --vantage host,guest"], Verification = Verification.NotRun };
        MethodFacts wrong = Method("liar") with { Verification = Verification.Failed, VerificationDetail = "byte 7 is another" };
        MethodFacts good = Method("good") with { Description = "what it is", Load = "fio-3.33" };
        Comparison comparison = Of([good, wrong, missing], [Workload()], Runs("good", "w", 5)) with { FailedRuns = [new FailedRun { Method = "good", Workload = "w", Round = 1, Reason = "r" }] };
        string text = Show(comparison);
        Assert.Contains("good: 1 run failed: w, round 2: r\nData verified through every method. Driven by fio-3.33: good.\n", text, StringComparison.Ordinal);
        Assert.Contains("liar: byte 7 is another\n", text, StringComparison.Ordinal);
        Assert.Contains("virtio-iothread: QEMU's own disk is seen only from inside a VM\n    polyblk compare --vantage host,guest\n", text, StringComparison.Ordinal);
        Assert.Contains("good: what it is\n", Show(comparison, isVerbose: true), StringComparison.Ordinal);
    }

    [Fact]
    public void The_verdict_comes_first_and_its_details_on_request()
    {
        string text = Show(ExampleComparison.Make(), width: 4096);
        Recommendation verdict = Advisor.Advise(ExampleComparison.Make(), Purpose.Vm);
        Assert.StartsWith(verdict.Headline + "\nWhy:\n  - ", text, StringComparison.Ordinal);
        Assert.DoesNotContain(verdict.WouldChange[0], text, StringComparison.Ordinal);
        Assert.Contains("--verbose", text, StringComparison.Ordinal);

        string all = Show(ExampleComparison.Make(), isVerbose: true, width: 4096);
        foreach (string sentence in (string[])[.. verdict.Reasons, .. verdict.WouldChange, .. verdict.NotMeasured, .. verdict.Cautions])
        {
            Assert.Contains($"  - {sentence}\n", all, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(40)]
    [InlineData(80)]
    [InlineData(100)]
    [InlineData(120)]
    public void At_any_width_no_line_is_wider_and_nothing_is_missing(int width)
    {
        foreach (bool isVerbose in new[] { false, true })
        {
            string wide = Show(ExampleComparison.Make(), isVerbose);
            string narrow = Show(ExampleComparison.Make(), isVerbose, width);
            Assert.All(narrow.Split('\n'), line => Assert.True(line.Length <= width, line));

            // Every word and every figure is there, as often at least: names of methods come again where a table is continued.
            Dictionary<string, int> there = Words(narrow);
            Assert.All(Words(wide).Where(w => w.Key.Length < width / 2), w => Assert.True(there.GetValueOrDefault(w.Key) >= w.Value, $"'{w.Key}' at {width}"));
        }
    }

    [Fact]
    public void At_80_columns_each_workload_has_one_table()
    {
        string text = Show(ExampleComparison.Make(), width: 80);
        string[] headings = [.. text.Split('\n').Where(l => l.StartsWith("method ", StringComparison.Ordinal))];
        Assert.Equal(ExampleComparison.Make().Workloads.Count + 1, headings.Length); // and the restarts
        Assert.All(headings.SkipLast(1), h => Assert.Equal(["method", h.Contains("MB/s", StringComparison.Ordinal) ? "MB/s" : "kIOPS", "ratio", "spread", "mean us", "p99 us", "CPU us"], Cells(h)));
    }

    [Fact]
    public void What_is_the_same_in_every_row_is_said_once()
    {
        Comparison comparison = Of([Method("a"), Method("b")], [Workload()], Runs("a", "w", 5000, 5000, 5000), Runs("b", "w", 5000, 5000, 5000)) with
        {
            Restarts = [.. new[] { "a", "b" }.Select(m => new RestartTest { Method = m, GapMs = m == "a" ? 12 : 34, IoErrors = 0, Verification = Verification.Passed })],
        };
        string text = Show(comparison);
        Assert.Contains("\n  in every row: ratio 1.00, spread 0 %, mean us -, p99 us -, CPU us -\n", text, StringComparison.Ordinal);
        Assert.Contains("\n  in every row: failed requests 0, data right\n", text, StringComparison.Ordinal);
        Assert.Equal(["a", "5.00"], Row(text, "a "));
    }

    private static Comparison WithFigures() => Of(
        [Method("base"), Method("m")], [Workload()], Runs("base", "w", 100_000, 200_000, 40_000),
        Runs("m", "w", 150_000, 300_000, 75_000).Select(r => r with { TargetCpuUsPerRequest = 2.5, LoadCpuUsPerRequest = null, Latency = new LatencyNs { Mean = 7000, P99 = 21_000 } }));

    private static Dictionary<string, int> Words(string text) => text.Split([' ', '\n'], StringSplitOptions.RemoveEmptyEntries).CountBy(w => w).ToDictionary();

    private static string[] Row(string text, string start) => Cells(text.Split('\n').First(l => l.StartsWith(start, StringComparison.Ordinal)));

    private static string[] Cells(string line) => line.Split("  ", StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);

    private static string Show(Comparison comparison, bool isVerbose = false, int width = Wide)
    {
        using var text = new StringWriter();
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Ansi = AnsiSupport.No, ColorSystem = ColorSystemSupport.NoColors, Out = new AnsiConsoleOutput(text) });
        console.Profile.Width = width;
        new TableReport(console, comparison, isVerbose).Write(Purpose.Vm);
        return text.ToString();
    }
}
