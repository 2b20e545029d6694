using System.Text.Json.Nodes;
using NJsonSchema;
using NJsonSchema.Validation;
using Polyblk.Compare.Results;
using static Polyblk.Compare.Tests.SmallComparison;

namespace Polyblk.Compare.Tests;

/// <summary>results.json, its schema, results.csv.</summary>
public sealed class ResultsFileTests
{
    [Fact]
    public void What_is_written_is_read_back()
    {
        string json = ComparisonFile.ToJson(ExampleComparison.Make());
        Comparison read = ComparisonFile.Parse(json);
        Assert.Equal(json, ComparisonFile.ToJson(read));
        Assert.Equal(ExampleComparison.Make().Runs, read.Runs);
        Assert.Contains("\"vantage\": \"guest\"", json, StringComparison.Ordinal);
        Assert.DoesNotContain("null", json, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(2, "newer")]
    [InlineData(0, "measure again")]
    public void A_version_that_is_not_known_is_refused_with_what_to_do(int version, string advice)
    {
        JsonNode file = Example();
        file["version"] = version;
        file.AsObject().Remove("runs");
        ComparisonFormatException error = Assert.Throws<ComparisonFormatException>(() => ComparisonFile.Parse(file.ToJsonString()));
        Assert.Contains(advice, error.Message, StringComparison.Ordinal);
        Assert.Contains($"version {version}", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("")]
    [InlineData("[]")]
    [InlineData("{}")]
    [InlineData("""{"format":"fio","version":1}""")]
    [InlineData("""{"format":7,"version":1}""")]
    [InlineData("""{"format":"polyblk-compare","version":1}""")]
    public void Other_files_are_refused(string text) => Assert.Throws<ComparisonFormatException>(() => ComparisonFile.Parse(text));

    [Fact]
    public async Task An_error_names_the_file()
    {
        string path = Path.GetTempFileName();
        try
        {
            await File.WriteAllTextAsync(path, "{}");
            ComparisonFormatException error = await Assert.ThrowsAsync<ComparisonFormatException>(() => ComparisonFile.ReadAsync(path));
            Assert.StartsWith(path, error.Message, StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(path);
        }
    }

    public static TheoryData<string, Func<Comparison, Comparison>> Contradictions => new()
    {
        { "baseline", c => c with { Baseline = "none" } },
        { "no such method", c => c with { Runs = [.. c.Runs, c.Runs[0] with { Method = "none" }] } },
        { "no such workload", c => c with { Runs = [.. c.Runs, c.Runs[0] with { Workload = "none" }] } },
        { "recorded twice", c => c with { Runs = [.. c.Runs, c.Runs[0]] } },
        { "negative", c => c with { Runs = [c.Runs[0] with { Iops = -1 }] } },
        { "negative", c => c with { Runs = [c.Runs[0] with { ContextSwitchesPerRequest = -0.1 }] } },
        { "negative", c => c with { Runs = [c.Runs[0] with { LoadCpuUsPerRequest = -1 }] } },
        { "negative", c => c with { Runs = [c.Runs[0] with { Latency = new LatencyNs { P99 = -1 } }] } },
        { "not a number", c => c with { Runs = [c.Runs[0] with { BytesPerSecond = double.NaN }] } },
        { "there twice", c => c with { Methods = [.. c.Methods, c.Methods[0]] } },
        { "no reason", c => c with { Methods = [.. c.Methods, Method("x") with { Available = false }] } },
        { "yet it has runs", c => c with { Methods = [c.Methods[0] with { Available = false, Reason = "r" }, .. c.Methods.Skip(1)] } },
        { "failed run", c => c with { FailedRuns = [new FailedRun { Method = "none", Workload = c.Workloads[0].Name, Round = 0, Reason = "r" }] } },
        { "restart test", c => c with { Restarts = [new RestartTest { Method = "none", IoErrors = 0 }] } },
    };

    [Theory]
    [MemberData(nameof(Contradictions))]
    public void Contradictions_are_found(string words, Func<Comparison, Comparison> damage)
    {
        ComparisonFormatException error = Assert.Throws<ComparisonFormatException>(() => ComparisonCheck.Check(damage(ExampleComparison.Make())));
        Assert.Contains(words, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_documented_schema_is_that_of_the_types()
    {
        string path = Path.Combine(TestPaths.Root, "docs", "compare-results.schema.json");
        if (Environment.GetEnvironmentVariable("POLYBLK_WRITE_SCHEMA") == "1")
            await File.WriteAllTextAsync(path, ComparisonFile.Schema());
        Assert.True(
            await File.ReadAllTextAsync(path) == ComparisonFile.Schema(),
            "docs/compare-results.schema.json is not what the types say. Run this test with POLYBLK_WRITE_SCHEMA=1, and look at the difference.");
    }

    [Fact]
    public async Task Results_are_valid_by_the_schema()
    {
        JsonSchema schema = await ReadSchemaAsync();
        Assert.Empty(schema.Validate(Example().ToJsonString()));
        Comparison small = Of([Method("base")], [Workload()], Runs("base", "w", 1));
        Assert.Empty(schema.Validate(ComparisonFile.ToJson(small)));
    }

    public static TheoryData<string, Action<JsonNode>> Violations => new()
    {
        { "no runs", n => n.AsObject().Remove("runs") },
        { "no baseline", n => n.AsObject().Remove("baseline") },
        { "version", n => n["version"] = 2 },
        { "vantage", n => n["methods"]![0]!["vantage"] = "moon" },
        { "pattern", n => n["workloads"]![0]!["pattern"] = "RandomRead" },
        { "IOPS of a run", n => n["runs"]![0]!["iops"] = "many" },
        { "negative latency", n => n["runs"]![0]!["latency"]!["p99"] = -1 },
        { "run without a round", n => n["runs"]![0]!.AsObject().Remove("round") },
        { "kernel", n => n["environment"]!["kernel"] = 6 },
    };

    [Theory]
    [MemberData(nameof(Violations))]
    public async Task The_schema_refuses_what_is_wrong(string what, Action<JsonNode> damage)
    {
        JsonSchema schema = await ReadSchemaAsync();
        JsonNode file = Example();
        damage(file);
        ICollection<ValidationError> errors = schema.Validate(file.ToJsonString());
        Assert.True(errors.Count > 0, $"not refused: {what}");
    }

    [Fact]
    public async Task Every_property_of_the_schema_is_described()
    {
        JsonNode schema = JsonNode.Parse(await File.ReadAllTextAsync(Path.Combine(TestPaths.Root, "docs", "compare-results.schema.json")))!;
        var missing = new List<string>();
        Walk(schema, "$");
        Assert.Empty(missing);

        void Walk(JsonNode node, string path)
        {
            foreach ((string name, JsonNode? property) in node["properties"]?.AsObject() ?? [])
            {
                if (property!["description"] is null && property["$ref"] is null)
                    missing.Add($"{path}.{name}");
                Walk(property, $"{path}.{name}");
                if (property["items"] is JsonObject items)
                    Walk(items, $"{path}.{name}[]");
            }
        }
    }

    [Fact]
    public void Csv_has_a_line_for_every_run()
    {
        Comparison example = ExampleComparison.Make();
        string[] lines = ComparisonCsv.From(example).Split("\r\n");
        Assert.Equal(example.Runs.Count + 2, lines.Length); // the header, and nothing after the last line end
        Assert.StartsWith("method,title,frontend,role,vantage,verification,workload,block_bytes,", lines[0], StringComparison.Ordinal);
        Assert.StartsWith("array@host,\"array, no frontend\",polyblk,bare,host,passed,4k-randread-qd1,4096,1,4,0,5,", lines[1], StringComparison.Ordinal);
    }

    [Fact]
    public void Csv_quotes_what_must_be_quoted_and_leaves_out_what_is_unknown()
    {
        Comparison comparison = Of([Method("a") with { Title = "say \"hi\",\nyou" }], [Workload()], Runs("a", "w", 1.5));
        string csv = ComparisonCsv.From(comparison);
        Assert.Contains("a,\"say \"\"hi\"\",\nyou\",a,", csv, StringComparison.Ordinal);
        Assert.EndsWith(",0,1,1.5,6144,,,,,,,,,,,,0,,\r\n", csv, StringComparison.Ordinal);
    }

    private static JsonNode Example() => JsonNode.Parse(ComparisonFile.ToJson(ExampleComparison.Make()))!;

    private static Task<JsonSchema> ReadSchemaAsync() => JsonSchema.FromFileAsync(Path.Combine(TestPaths.Root, "docs", "compare-results.schema.json"));
}
