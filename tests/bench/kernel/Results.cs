// From fio's JSON and the copies of /proc/stat to medians and ratios: a ratio is taken within a round, and of these the median.

using System.Globalization;
using System.Text.Json;

namespace Polyblk.Bench.Kernel;

/// <summary>One job of one round.</summary>
/// <param name="Iops">Requests a second.</param>
/// <param name="CpuUs">Busy time of all processors of the guest for a request, in microseconds: target, kernel and load.</param>
internal sealed record JobResult(double Iops, double CpuUs);

/// <summary>The results of all rounds by job name: <c>vduse-file-randread-1</c>.</summary>
internal sealed class Results
{
    private const double UsPerTick = 10_000;
    private static readonly (string Ours, string Theirs)[] s_pairs = [("vduse", "qsd"), ("ublk", "loop")];

    private readonly Dictionary<string, List<JobResult>> _jobs = new(StringComparer.Ordinal);

    public static Results Read(string folder, int rounds)
    {
        var results = new Results();
        for (int round = 1; round <= rounds; round++)
        {
            // Before its JSON fio says where it keeps the output of each job's commands.
            string text = File.ReadAllText(Path.Combine(folder, $"{round}.json"));
            using JsonDocument document = JsonDocument.Parse(text[text.IndexOf("\n{", StringComparison.Ordinal)..]);
            foreach (JsonElement job in document.RootElement.GetProperty("jobs").EnumerateArray())
            {
                string name = job.GetProperty("jobname").GetString()!;
                if (job.GetProperty("error").GetInt64() != 0) throw new InvalidDataException($"{name} of round {round} ended with an error.");
                JsonElement side = job.GetProperty(name.Contains("write", StringComparison.Ordinal) ? "write" : "read");
                long busy = BusyTicks(Path.Combine(folder, $"{round}.{name}.after")) - BusyTicks(Path.Combine(folder, $"{round}.{name}.before"));
                long requests = side.GetProperty("total_ios").GetInt64();
                if (!results._jobs.TryGetValue(name, out List<JobResult>? list)) results._jobs.Add(name, list = []);
                list.Add(new JobResult(side.GetProperty("iops").GetDouble(), busy * UsPerTick / requests));
            }
        }

        return results;
    }

    public void Print(TextWriter output)
    {
        output.WriteLine("| backing | load | ours | IOPS | other | IOPS | ratio (rounds) | CPU/request, µs | ratio |");
        output.WriteLine("|---|---|---|---|---|---|---|---|---|");
        foreach (string backing in new[] { "file", "null" })
        foreach ((string ours, string theirs) in s_pairs)
        foreach (string load in new[] { "randread-1", "randread-32", "randwrite-1", "randwrite-32" })
        {
            List<JobResult> a = _jobs[$"{ours}-{backing}-{load}"], b = _jobs[$"{theirs}-{backing}-{load}"];
            double[] speed = [.. a.Zip(b, (x, y) => x.Iops / y.Iops)], cost = [.. a.Zip(b, (x, y) => x.CpuUs / y.CpuUs)];
            output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"| {backing} | {load} | {ours} | {Median(a, r => r.Iops):0} | {theirs} | {Median(b, r => r.Iops):0} | {Median(speed, r => r):0.00} ({speed.Min():0.00} to {speed.Max():0.00}) | {Median(a, r => r.CpuUs):0} / {Median(b, r => r.CpuUs):0} | {Median(cost, r => r):0.00} |"));
        }
    }

    private static double Median<T>(IReadOnlyCollection<T> values, Func<T, double> of)
    {
        double[] sorted = [.. values.Select(of).Order()];
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }

    /// <summary>User, nice, system, irq and softirq of all processors (proc(5), /proc/stat).</summary>
    private static long BusyTicks(string path)
    {
        long[] ticks = [.. File.ReadLines(path).First().Split(' ', StringSplitOptions.RemoveEmptyEntries).Skip(1).Select(long.Parse)];
        return ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6];
    }
}
