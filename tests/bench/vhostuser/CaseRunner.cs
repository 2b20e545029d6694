using Spectre.Console;

namespace Polyblk.Bench;

/// <summary>One run of one target under one workload.</summary>
internal sealed record Measurement(string Case, string Target, string Workload, int Round, LoadRun Run);

/// <summary>Runs a case in alternating rounds and prints its table.</summary>
internal sealed class CaseRunner(BenchPaths paths, string targetCpus, string loadCpus, int rounds, double seconds)
{
    /// <summary>Starts the targets, measures, prints, stops them.</summary>
    public IReadOnlyList<Measurement> Run(Case each, IReadOnlyList<string> wantedLoads)
    {
        var all = new List<Measurement>();
        try
        {
            foreach (Target target in each.Targets)
            {
                target.Start(paths, targetCpus);
                if (each.Prefill)
                {
                    LoadRun.Fill(paths, target, loadCpus, each.SizeBytes);
                }

                Stop(target.Pid);
            }

            Table table = NewTable(each);
            foreach (Workload load in Workload.Standard.Where(w => each.Loads.Count == 0 || each.Loads.Contains(w.Name)))
            {
                if (wantedLoads.Count != 0 && !wantedLoads.Any(w => load.Name.StartsWith(w, StringComparison.Ordinal)))
                {
                    continue;
                }

                List<Measurement> runs = Measure(each, load);
                all.AddRange(runs);
                AddRows(table, each, load, runs);
            }

            AnsiConsole.Write(table);
        }
        finally
        {
            foreach (Target target in each.Targets)
            {
                Continue(target);
                target.Dispose();
            }
        }

        return all;
    }

    private List<Measurement> Measure(Case each, Workload load)
    {
        var runs = new List<Measurement>();
        for (int round = -1; round < rounds; round++)
        {
            IEnumerable<Target> order = round % 2 == 0 ? each.Targets : each.Targets.Reverse();
            foreach (Target target in order)
            {
                // A polling target burns its processor: the others are stopped while one is measured.
                Continue(target);
                LoadRun run = LoadRun.Execute(paths, target, load, loadCpus, round < 0 ? Math.Min(1, seconds) : seconds, each.SizeBytes);
                Stop(target.Pid);

                // Round -1 warms up: code is compiled, memory is touched.
                if (round >= 0)
                {
                    runs.Add(new Measurement(each.Name, target.Label, load.Name, round, run));
                }
            }
        }

        return runs;
    }

    private static Table NewTable(Case each)
    {
        Table table = new Table().Title(Markup.Escape(each.Name)).Border(TableBorder.Markdown);
        foreach (string column in (string[])["workload", "target", "kIOPS (median)", "spread", "GB/s", "mean us", "p99 us", "CPU us/req", "first : this"])
        {
            table.AddColumn(column);
        }

        return table;
    }

    private static void AddRows(Table table, Case each, Workload load, List<Measurement> runs)
    {
        List<LoadRun> first = Of(runs, each.Targets[0]);
        foreach (Target target in each.Targets)
        {
            List<LoadRun> mine = Of(runs, target);
            double iops = Median(mine.Select(r => r.Iops));
            double spread = (mine.Max(r => r.Iops) - mine.Min(r => r.Iops)) / iops;
            double ratio = Median(mine.Select((r, i) => first[i].Iops / r.Iops));
            table.AddRow(
                load.Name,
                Markup.Escape(target.Label),
                $"{iops / 1000:F1}",
                $"{spread:P0}",
                load.IsLarge ? $"{iops * load.BlockBytes / 1e9:F2}" : string.Empty,
                $"{Median(mine.Select(r => r.MeanUs)):F2}",
                $"{Median(mine.Select(r => r.P99Us)):F2}",
                $"{Median(mine.Select(r => r.TargetCpuUs)):F2}",
                ReferenceEquals(target, each.Targets[0]) ? string.Empty : $"{ratio:F2}");
        }
    }

    private static List<LoadRun> Of(List<Measurement> runs, Target target) =>
        [.. runs.Where(r => r.Target == target.Label).OrderBy(r => r.Round).Select(r => r.Run)];

    private static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return sorted.Length % 2 == 1 ? sorted[sorted.Length / 2] : (sorted[(sorted.Length / 2) - 1] + sorted[sorted.Length / 2]) / 2;
    }

    private static void Stop(int pid) => BenchPaths.Run("kill", ["-STOP", $"{pid}"]);

    private static void Continue(Target target)
    {
        if (target.Socket.Length != 0 && File.Exists(target.Socket))
        {
            BenchPaths.Run("kill", ["-CONT", $"{target.Pid}"]);
        }
    }
}
