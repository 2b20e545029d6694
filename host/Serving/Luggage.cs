using Polyblk.Frontends;

namespace Polyblk.Host.Serving;

/// <summary>What the exports of a volume hand over, by their ids. Disposing it ends the sessions that nobody has taken.</summary>
public sealed class Luggage : IDisposable
{
    private readonly Dictionary<string, HandedOverExport> _exports = new(StringComparer.Ordinal);
    private bool _isDisposed;

    public void Add(string id, HandedOverExport export)
    {
        lock (_exports)
        {
            if (_isDisposed)
            {
                // It was waited for no longer.
                export.Dispose();
                return;
            }

            _exports.Add(id, export);
        }
    }

    /// <summary>Takes an export's out, or null where there is nothing: it is the caller's from here on.</summary>
    public HandedOverExport? Take(string id)
    {
        lock (_exports)
        {
            return _exports.Remove(id, out HandedOverExport? export) ? export : null;
        }
    }

    /// <summary>What is left, by the ids of the exports.</summary>
    public IReadOnlyDictionary<string, HandedOverExport> Exports => _exports;

    public void Dispose()
    {
        lock (_exports)
        {
            _isDisposed = true;
            foreach (HandedOverExport export in _exports.Values)
            {
                export.Dispose();
            }

            _exports.Clear();
        }
    }
}
