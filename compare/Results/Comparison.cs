// The recorded outcome of a comparison: the root of results.json.
//
// Every run is recorded here by itself. Medians, spreads, ratios, the report and the verdict are computed from them (ComparedRow,
// ComparisonDiff, Report, Verdict), so that whoever has the file can compute them again. Computed before it is written are the
// noise over all runs (NoiseReadings) and the theory of RAID efficiency (EfficiencyRow). The descriptions below are the
// documentation of the format: docs/compare-results.schema.json is made from these types, and a test holds the two together.
//
// Times carry their unit in the name. A figure that was not taken is absent, never zero and never NaN.

using System.ComponentModel;
using System.Text.Json.Serialization;

namespace Polyblk.Compare.Results;

[Description("A comparison of ways to deliver one volume: where, what and how it was measured, and every single run.")]
public sealed record Comparison
{
    /// <summary>What a reader finds in <see cref="Format"/>.</summary>
    public const string FormatName = "polyblk-compare";

    /// <summary>Raised when a reader of the old version would misread a new file; additions do not raise it.</summary>
    public const int CurrentVersion = 1;

    [Description("Always polyblk-compare: tells the file from other JSON.")]
    public string Format { get; init; } = FormatName;

    [Description("Version of the format. A reader refuses a version that it does not know.")]
    public int Version { get; init; } = CurrentVersion;

    [Description("When the comparison began, UTC.")]
    public required DateTimeOffset StartedUtc { get; init; }

    [Description("How long all of it took, in seconds.")]
    public required double ElapsedSeconds { get; init; }

    [Description("Whether it was broken off before all rounds were made. What was measured until then is recorded.")]
    public bool Interrupted { get; init; }

    [Description("The machine and its software.")]
    public required EnvironmentFacts Environment { get; init; }

    [Description("The volume that was delivered.")]
    public required VolumeFacts Volume { get; init; }

    [Description("How it was measured.")]
    public required MeasurementSettings Settings { get; init; }

    [Description("The id of the method that ratios refer to.")]
    public required string Baseline { get; init; }

    [Description("Every method that was asked for, also those that could not run.")]
    public required IReadOnlyList<MethodFacts> Methods { get; init; }

    [Description("Every workload that was asked for.")]
    public required IReadOnlyList<WorkloadFacts> Workloads { get; init; }

    [Description("Every run of every round that gave figures, in the order in which they were made. None is left out.")]
    public required IReadOnlyList<MeasuredRun> Runs { get; init; }

    [Description("Every run that failed. Any of them disqualifies its method.")]
    public IReadOnlyList<FailedRun> FailedRuns { get; init; } = [];

    [Description("What happened when the target was killed under load.")]
    public IReadOnlyList<RestartTest> Restarts { get; init; } = [];

    [Description("The array's results against what its drives could give in theory.")]
    public IReadOnlyList<EfficiencyRow> Efficiency { get; init; } = [];

    [Description("Remarks of the measuring program for the reader, one sentence each.")]
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>The method with this id.</summary>
    /// <exception cref="ComparisonFormatException">There is none.</exception>
    public MethodFacts Method(string id) =>
        Methods.FirstOrDefault(m => m.Id == id) ?? throw new ComparisonFormatException($"There is no method '{id}' in the results.");

    /// <summary>What to call a method where all are shown: its title, and where it was measured from if that varies.</summary>
    public string TitleOf(MethodFacts method)
    {
        ArgumentNullException.ThrowIfNull(method);
        bool ambiguous = Methods.Any(m => m.Id != method.Id && m.Title == method.Title);
        return !ambiguous ? method.Title : $"{method.Title} ({(method.Vantage == Vantage.Guest ? "in the VM" : "on the host")})";
    }
}

[Description("How the runs were made.")]
public sealed record MeasurementSettings
{
    [Description("Rounds that were asked for. In each round every method runs every workload once.")]
    public required int Rounds { get; init; }

    [Description("Counted time of one run in seconds.")]
    public required double RuntimeSeconds { get; init; }

    [Description("Time before it in seconds, not counted.")]
    public required double WarmUpSeconds { get; init; }

    [Description("Processors of the target.")]
    public IReadOnlyList<int> TargetCpus { get; init; } = [];

    [Description("Processors of the load.")]
    public IReadOnlyList<int> LoadCpus { get; init; } = [];

    [Description("Bytes of the volume that the load covers.")]
    public long? SpanBytes { get; init; }

    [Description("Seed of the random offsets in the first round (each further round takes the next number) and of the pattern by which the first method is verified (each further method takes the next).")]
    public ulong? Seed { get; init; }

    [Description("The command that was typed.")]
    public string? CommandLine { get; init; }
}

/// <summary>A results file cannot be used; the message says what is wrong with it.</summary>
public sealed class ComparisonFormatException : Exception
{
    public ComparisonFormatException()
    {
    }

    public ComparisonFormatException(string message)
        : base(message)
    {
    }

    public ComparisonFormatException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}

/// <summary>Where a method was measured.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<Vantage>))]
public enum Vantage
{
    [JsonStringEnumMemberName("host")]
    Host,
    [JsonStringEnumMemberName("guest")]
    Guest,
}

/// <summary>Who can use what a method delivers.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<Consumer>))]
public enum Consumer
{
    [JsonStringEnumMemberName("vm")]
    Vm,
    [JsonStringEnumMemberName("container")]
    Container,
}
