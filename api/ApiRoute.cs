using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.Http;

namespace Polyblk.Api;

/// <summary>A request that the API answers: what it is dispatched by, and what docs/openapi.json says of it.</summary>
/// <param name="Method">The HTTP method.</param>
/// <param name="Path">The path; a part in braces takes any value.</param>
/// <param name="Id">What a program calls it.</param>
/// <param name="Summary">What it does, in a sentence.</param>
/// <param name="AnswerAsync">Answers it, given the values of the path in their order.</param>
internal sealed record ApiRoute(
    string Method, string Path, string Id, string Summary, Func<ApiServer, HttpContext, string[], Task> AnswerAsync)
{
    private readonly string[] _parts = Path.Split('/', StringSplitOptions.RemoveEmptyEntries);

    /// <summary>What its body is; null where it has none.</summary>
    public JsonTypeInfo? Body { get; init; }

    /// <summary>The status of the answer that it is done.</summary>
    public int Status { get; init; } = StatusCodes.Status200OK;

    /// <summary>What that answer is, by its media type; null stands for text, and none for no content.</summary>
    public IReadOnlyDictionary<string, JsonTypeInfo?> Answers { get; init; } = new Dictionary<string, JsonTypeInfo?>();

    /// <summary>What may stand after the question mark.</summary>
    public IReadOnlyList<ApiQuery> Query { get; init; } = [];

    /// <summary>Whether it changes something.</summary>
    public bool IsChange => Method != "GET";

    /// <summary>The names of the path's values.</summary>
    public IEnumerable<string> Names => _parts.Where(IsName).Select(p => p[1..^1]);

    /// <summary>The values of a path, or null where it is another one.</summary>
    public string[]? Match(string[] path) =>
        path.Length == _parts.Length && _parts.Zip(path).All(p => IsName(p.First) || p.First == p.Second)
        ? [.. path.Where((_, i) => IsName(_parts[i]))]
        : null;

    private static bool IsName(string part) => part[0] == '{';
}

/// <summary>Something that may stand after the question mark.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Type">A type of JSON Schema.</param>
/// <param name="Summary">What it does, in a sentence.</param>
internal sealed record ApiQuery(string Name, string Type, string Summary);
