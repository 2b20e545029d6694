// results.json: writing, reading with checks, and its schema.

using System.ComponentModel;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Schema;
using System.Text.Json.Serialization;

namespace Polyblk.Compare.Results;

/// <summary>Reads and writes <c>results.json</c>.</summary>
public static class ComparisonFile
{
    /// <summary>The results as JSON text.</summary>
    public static string ToJson(Comparison comparison) =>
        JsonSerializer.Serialize(comparison, ComparisonJsonContext.Default.Comparison) + "\n";

    /// <summary>Reads results and checks that they fit together.</summary>
    /// <exception cref="ComparisonFormatException">They are not of a version that is known, or contradict themselves.</exception>
    public static Comparison Parse(string json)
    {
        try
        {
            CheckHeader(json);
            Comparison comparison = JsonSerializer.Deserialize(json, ComparisonJsonContext.Default.Comparison)
                ?? throw new ComparisonFormatException("The file holds no results.");
            ComparisonCheck.Check(comparison);
            return comparison;
        }
        catch (JsonException e)
        {
            throw new ComparisonFormatException($"This is not a results file of polyblk compare: {e.Message}", e);
        }
    }

    /// <summary>Reads a results file.</summary>
    /// <exception cref="ComparisonFormatException">It cannot be used; the message names the file.</exception>
    public static async Task<Comparison> ReadAsync(string path, CancellationToken cancellation = default)
    {
        string json = await File.ReadAllTextAsync(path, cancellation).ConfigureAwait(false);
        try
        {
            return Parse(json);
        }
        catch (ComparisonFormatException e)
        {
            throw new ComparisonFormatException($"{path}: {e.Message}", e);
        }
    }

    /// <summary>The JSON Schema of the format, made from the types.</summary>
    public static string Schema()
    {
        var options = new JsonSchemaExporterOptions { TreatNullObliviousAsNonNullable = true, TransformSchemaNode = Describe };
        JsonNode schema = ComparisonJsonContext.Default.Comparison.Options.GetJsonSchemaAsNode(typeof(Comparison), options);
        var root = new JsonObject
        {
            ["$schema"] = "https://json-schema.org/draft/2020-12/schema",
            ["title"] = "results.json of polyblk compare",
        };
        foreach ((string name, JsonNode? value) in schema.AsObject())
            root[name] = value?.DeepClone();
        root["properties"]!["format"]!["enum"] = new JsonArray(Comparison.FormatName);
        root["properties"]!["version"]!["enum"] = new JsonArray(Comparison.CurrentVersion);
        return root.ToJsonString(new JsonSerializerOptions(ComparisonJsonContext.Default.Options) { WriteIndented = true }) + "\n";
    }

    private static JsonNode Describe(JsonSchemaExporterContext context, JsonNode node)
    {
        if (node is not JsonObject schema)
            return node;

        // Of a property first: it says more than its type.
        if (context.PropertyInfo?.AttributeProvider?.GetCustomAttributes(typeof(DescriptionAttribute), false).FirstOrDefault() is DescriptionAttribute own)
            schema.Insert(0, "description", own.Description);
        else if (context.TypeInfo.Type.GetCustomAttributes(typeof(DescriptionAttribute), false).FirstOrDefault() is DescriptionAttribute general)
            schema.Insert(0, "description", general.Description);

        Type type = Nullable.GetUnderlyingType(context.TypeInfo.Type) ?? context.TypeInfo.Type;
        if (type == typeof(double) || type == typeof(int) || type == typeof(long) || type == typeof(ulong))
            schema["minimum"] = 0;
        return schema;
    }

    /// <summary>The version comes first: a file of the future must be called that, not "property missing".</summary>
    private static void CheckHeader(string json)
    {
        using JsonDocument document = JsonDocument.Parse(json);
        JsonElement root = document.RootElement;
        if (root.ValueKind != JsonValueKind.Object
            || !root.TryGetProperty("format", out JsonElement format) || format.ValueKind != JsonValueKind.String
            || format.GetString() != Comparison.FormatName
            || !root.TryGetProperty("version", out JsonElement version) || !version.TryGetInt32(out int number))
        {
            throw new ComparisonFormatException($"This is not a results file of polyblk compare: it does not begin with format '{Comparison.FormatName}' and a version.");
        }

        if (number != Comparison.CurrentVersion)
        {
            throw new ComparisonFormatException(number > Comparison.CurrentVersion
                ? $"The file has version {number} of the format, this program knows version {Comparison.CurrentVersion}: use the program that wrote it, or a newer one."
                : $"The file has version {number} of the format, which this program ({Comparison.CurrentVersion}) no longer reads: measure again.");
        }
    }
}

/// <summary>Serialization of the results.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    WriteIndented = true,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    RespectNullableAnnotations = true,
    NumberHandling = JsonNumberHandling.Strict)]
[JsonSerializable(typeof(Comparison))]
internal sealed partial class ComparisonJsonContext : JsonSerializerContext;
