using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Schema;
using System.Text.Json.Serialization.Metadata;
using Polyblk.Api;

namespace Polyblk.Cli.Tests;

/// <summary>Makes docs/openapi.json (OpenAPI 3.1) of the table of routes and the types that go over the API.</summary>
internal sealed class OpenApiDocument
{
    private static readonly JsonSerializerOptions s_written = new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private readonly SortedDictionary<string, JsonNode> _schemas = new(StringComparer.Ordinal);

    /// <summary>Its text.</summary>
    public static string Write() => new OpenApiDocument().Make().ToJsonString(s_written) + "\n";

    private JsonObject Make()
    {
        var paths = new JsonObject();
        foreach (IGrouping<string, ApiRoute> same in ApiRoutes.All.GroupBy(r => r.Path))
        {
            paths[same.Key] = Object(same.Select(r => (r.Method.ToLowerInvariant(), (JsonNode?)Operation(r))));
        }

        return new JsonObject
        {
            ["openapi"] = "3.1.1",
            ["info"] = new JsonObject
            {
                ["title"] = "polyblk",
                ["summary"] = "The API of the daemon: docs/daemon.md.",
                ["version"] = "1",
                ["license"] = new JsonObject { ["name"] = "Apache-2.0", ["identifier"] = "Apache-2.0" },
            },
            ["servers"] = new JsonArray(new JsonObject
            {
                ["url"] = "http://polyblk", ["description"] = "On the Unix socket _daemon/api.sock in the runtime directory, such as /run/polyblk/_daemon/api.sock; the name is of no account.",
            }),
            ["paths"] = paths,
            ["components"] = new JsonObject { ["schemas"] = Object(_schemas.Select(s => (s.Key, (JsonNode?)s.Value))) },
        };
    }

    private JsonObject Operation(ApiRoute route)
    {
        var operation = new JsonObject { ["operationId"] = route.Id, ["summary"] = route.Summary };
        JsonNode[] parameters =
        [
            .. route.Names.Select(name => Parameter(name, "path", "string", null)),
            .. route.Query.Select(q => Parameter(q.Name, "query", q.Type, q.Summary)),
        ];
        if (parameters.Length > 0)
        {
            operation["parameters"] = new JsonArray(parameters);
        }

        if (route.Body is not null)
        {
            operation["requestBody"] =
                new JsonObject { ["required"] = true, ["content"] = Content([("application/json", route.Body)]) };
        }

        var done = new JsonObject { ["description"] = route.Answers.Count == 0 ? "It is done." : "The answer." };
        if (route.Answers.Count > 0)
        {
            done["content"] = Content(route.Answers.Select(a => (a.Key, a.Value)));
        }

        operation["responses"] = new JsonObject
        {
            [$"{route.Status}"] = done,
            ["default"] = new JsonObject
            {
                ["description"] =
                    "It was refused (RFC 9457): invalid 400, not-found 404, refused 409, failed 500, host-lacks 503.",
                ["content"] = Content([("application/problem+json", ApiJson.Default.ProblemJson)]),
            },
        };
        return operation;
    }

    private static JsonObject Parameter(string name, string place, string type, string? summary)
    {
        var parameter = new JsonObject { ["name"] = name, ["in"] = place };
        if (summary is not null)
        {
            parameter["description"] = summary;
        }

        parameter["required"] = place == "path";
        parameter["schema"] = new JsonObject { ["type"] = type };
        return parameter;
    }

    private JsonObject Content(IEnumerable<(string Type, JsonTypeInfo? Shape)> answers) => Object(answers.Select(a =>
        (a.Type, (JsonNode?)new JsonObject { ["schema"] = a.Shape is null ? new JsonObject { ["type"] = "string" }
            : Schema(a.Shape) })));

    /// <summary>
    /// Objects stand once, under their names; what is null is left out of what is sent, so nothing is said to be null.
    /// </summary>
    private JsonNode Schema(JsonTypeInfo type) => type.GetJsonSchemaAsNode(new JsonSchemaExporterOptions
    {
        TreatNullObliviousAsNonNullable = true,
        TransformSchemaNode = (context, node) =>
        {
            if (context.TypeInfo.Kind == JsonTypeInfoKind.Object)
            {
                Type its = Nullable.GetUnderlyingType(context.TypeInfo.Type) ?? context.TypeInfo.Type;
                string name = its.Name.EndsWith("Json", StringComparison.Ordinal) ? its.Name[..^4] : its.Name;
                if (node is JsonObject shape && shape.ContainsKey("properties"))
                {
                    shape["type"] = "object";
                    DemandOnlyWhatIsNeverNull(shape, context.TypeInfo);

                    // What comes a second time in a type refers to where it came first there.
                    _ = _schemas.TryAdd(name, shape);
                }

                return new JsonObject { ["$ref"] = $"#/components/schemas/{name}" };
            }

            if (node is JsonObject { } plain && plain["type"] is JsonArray types)
            {
                JsonNode[] left = [.. types.Where(t => t!.GetValue<string>() != "null").Select(t => t!.DeepClone())];
                plain["type"] = left.Length == 1 ? left[0] : new JsonArray(left);
            }

            if (node is JsonObject { } words && words["enum"] is JsonArray values)
            {
                words["type"] = "string";
                words["enum"] = new JsonArray([.. values.Where(v => v is not null).Select(v => v!.DeepClone())]);
            }

            (node as JsonObject)?.Remove("default");
            return node;
        },
    });

    /// <summary>A constructor asks for values that may be null, and what is null is left out.</summary>
    private static void DemandOnlyWhatIsNeverNull(JsonObject shape, JsonTypeInfo type)
    {
        if (shape["required"] is JsonArray required)
        {
            string[] nullable = [.. type.Properties.Where(p => p.IsGetNullable).Select(p => p.Name)];
            shape["required"] = new JsonArray(
                [.. required.Select(name => name!.GetValue<string>()).Except(nullable).Select(name => (JsonNode)name)]);
        }
    }

    private static JsonObject Object(IEnumerable<(string Name, JsonNode? Value)> members) =>
        new(members.Select(m => KeyValuePair.Create(m.Name, m.Value)));
}
