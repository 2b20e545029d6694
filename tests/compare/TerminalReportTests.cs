using Polyblk.Compare.Report;
using Polyblk.Compare.Results;
using Spectre.Console;
using static Polyblk.Compare.Tests.SmallComparison;

namespace Polyblk.Compare.Tests;

/// <summary>What the terminal shows: the recorded results, and nothing that is computed another way than in the files.</summary>
public sealed class TerminalReportTests
{
    [Fact]
    public void A_row_has_the_medians_of_the_recorded_runs_and_a_dash_for_what_was_not_taken()
    {
        Comparison comparison = Of([Method("base"), Method("m")], [Workload()], Runs("base", "w", 100_000, 200_000, 50_000), Runs("m", "w", 150_000, 300_000, 75_000)
            .Select(r => r with { TargetCpuUsPerRequest = 2.5, Latency = new LatencyNs { Mean = 7000, P99 = 21_000 } }));
        string[] row = Line(Show(comparison), "m ").Split("  ", StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        Assert.Equal(["m", "150", "614", "7.00", "21.0", "-", "2.50", "-", "150 %", "1.50"], row);
    }

    [Fact]
    public void Every_method_of_the_results_is_told_of_also_one_that_could_not_run()
    {
        MethodFacts missing = Method("virtio-iothread") with { Available = false, Reason = "QEMU's own disk is seen only from inside a VM", Remedies = ["polyblk compare --vantage host,guest"], Verification = Verification.NotRun };
        MethodFacts wrong = Method("liar") with { Verification = Verification.Failed, VerificationDetail = "byte 7 is another" };
        MethodFacts good = Method("good") with { Description = "what it is", Load = "fio-3.33" };
        string text = Show(Of([good, wrong, missing], [Workload()], Runs("good", "w", 5)) with { FailedRuns = [new FailedRun { Method = "good", Workload = "w", Round = 1, Reason = "r" }] });
        Assert.Contains("good  what it is; data verified; driven by fio-3.33; 1 run failed", text, StringComparison.Ordinal);
        Assert.Contains("liar  not measured: byte 7 is another", text, StringComparison.Ordinal);
        Assert.Contains("virtio-iothread  not measured: QEMU's own disk is seen only from inside a VM\n    polyblk compare --vantage host,guest\n", text, StringComparison.Ordinal);
    }

    private static string Line(string text, string start) => text.Split('\n').First(l => l.StartsWith(start, StringComparison.Ordinal));

    private static string Show(Comparison comparison)
    {
        using var text = new StringWriter();
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Ansi = AnsiSupport.No, ColorSystem = ColorSystemSupport.NoColors, Out = new AnsiConsoleOutput(text) });
        console.Profile.Width = 200;
        TableReport.Write(console, comparison);
        return text.ToString();
    }
}
