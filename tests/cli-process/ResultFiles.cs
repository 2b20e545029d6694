// The files of a real comparison, read as a stranger would read them: results.json by the published schema, results.csv as text.

using System.Globalization;
using System.Text.RegularExpressions;
using NJsonSchema;
using NJsonSchema.Validation;
using Polyblk.Compare.Results;

namespace Polyblk.Cli.Process.Tests;

internal static partial class ResultFiles
{
    /// <summary>The repository's top folder.</summary>
    public static string Root { get; } = FindRoot();

    private static readonly Lazy<JsonSchema> s_schema = new(() => JsonSchema.FromFileAsync(Path.Combine(Root, "docs", "compare-results.schema.json")).GetAwaiter().GetResult());

    /// <summary>
    /// Reads results.json after it was found valid by the schema in docs, and says of each method that was measured by which
    /// commands.
    /// </summary>
    public static Comparison ReadValid(string file)
    {
        string json = File.ReadAllText(file);
        ICollection<ValidationError> errors = s_schema.Value.Validate(json);
        Assert.True(errors.Count == 0, string.Join('\n', errors));
        Comparison results = ComparisonFile.Parse(json);
        Assert.NotNull(results.Settings.Seed);
        Assert.StartsWith("polyblk compare ", results.Settings.CommandLine, StringComparison.Ordinal);
        Assert.All(results.Methods.Where(m => m.Load is not null), m => Assert.True(m.Commands.Count >= 2, $"{m.Id}: {string.Join('\n', m.Commands)}"));

        // What a frontend does not count is absent; for vhost-user the driver or the server counts.
        Assert.All(results.Runs.Where(r => r.Method.StartsWith("nbd", StringComparison.Ordinal)), r => Assert.Null(r.NotificationsPerRequest));
        Assert.All(results.Runs.Where(r => r.Method.StartsWith("vhost-user", StringComparison.Ordinal) && r.Iops > 0), r => Assert.NotNull(r.NotificationsPerRequest));
        return results;
    }

    /// <summary>
    /// From results.csv alone: for each method and workload the ratio of its requests per second to the baseline's in the same
    /// round, and of these the median.
    /// </summary>
    public static Dictionary<(string Method, string Workload), double> RatiosOf(string csv, string baseline)
    {
        string[][] lines = [.. File.ReadAllText(csv).TrimEnd().Split("\r\n").Select(l => Field().Matches(l).Select(m => m.Groups[1].Value.Trim('"')).ToArray())];
        int Column(string name) => Array.IndexOf(lines[0], name);
        var runs = lines.Skip(1).Select(l => (
            Method: l[Column("method")], Workload: l[Column("workload")], Round: l[Column("round")], Iops: double.Parse(l[Column("iops")], CultureInfo.InvariantCulture))).ToArray();
        return runs.Where(r => r.Method != baseline).GroupBy(r => (r.Method, r.Workload)).ToDictionary(
            g => g.Key,
            g =>
            {
                double[] ratios = [.. g.Select(r => r.Iops / runs.Single(b => (b.Method, b.Workload, b.Round) == (baseline, r.Workload, r.Round)).Iops).Order()];
                return ratios.Length % 2 == 1 ? ratios[ratios.Length / 2] : (ratios[(ratios.Length / 2) - 1] + ratios[ratios.Length / 2]) / 2;
            });
    }

    private static string FindRoot()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "Frontends.sln")))
            {
                return folder.FullName;
            }
        }

        throw new InvalidOperationException($"No Frontends.sln above {AppContext.BaseDirectory}.");
    }

    /// <summary>A field of RFC 4180 without quotes inside of quotes, which nothing here has.</summary>
    [GeneratedRegex("(?:^|,)(\"[^\"]*\"|[^,]*)", RegexOptions.CultureInvariant)]
    private static partial Regex Field();
}
