using System.Globalization;

namespace Polyblk.Host.Declared;

/// <summary>Collects what is wrong with a document, so that all of it is told at once.</summary>
/// <param name="document">What it is called: its path.</param>
internal sealed class Problems(string document)
{
    private const int Most = 20;
    private readonly List<(Place At, string Text)> _found = [];

    /// <summary>Something is wrong.</summary>
    /// <param name="at">Where.</param>
    /// <param name="key">The key that it is about, with those that it is in; empty for the document.</param>
    /// <param name="problem">What is wrong, in a sentence.</param>
    public void Add(Place at, string key, string problem) => _found.Add((at, key.Length == 0 ? problem : $"{key}: {problem}"));

    /// <summary>Runs a check that refuses by itself, and puts its refusal where it belongs.</summary>
    public T? Try<T>(Place at, string key, Func<T> check)
    {
        try
        {
            return check();
        }
        catch (RefusalException e)
        {
            Add(at, key, e.Message);
            return default;
        }
    }

    /// <summary>Ends where anything is wrong.</summary>
    /// <param name="kind">Of what kind that is.</param>
    /// <exception cref="RefusalException">All that is, a line each.</exception>
    public void Throw(RefusalKind kind)
    {
        if (_found.Count == 0)
        {
            return;
        }

        IEnumerable<string> lines =
            from found in _found.OrderBy(f => f.At).Take(Most)
            select $"{document}:{found.At}: {Printable.Line(found.Text)}";
        int more = _found.Count - Most;
        string rest = more > 0 ? string.Create(CultureInfo.InvariantCulture, $"\nand {more} more") : string.Empty;
        throw new RefusalException(kind, string.Join('\n', lines) + rest);
    }
}
