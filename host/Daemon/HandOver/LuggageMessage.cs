using Microsoft.Win32.SafeHandles;
using Polyblk.Frontends;
using Polyblk.Host.Serving;

namespace Polyblk.Host.Daemon.HandOver;

/// <summary>What a volume hands over, as it is told to the other side.</summary>
internal static class LuggageMessage
{
    /// <summary>Writes it down for the other side.</summary>
    public static (IReadOnlyList<HandedOverExportJson> Exports, IReadOnlyList<SafeFileHandle> Descriptors) Write(Luggage luggage)
    {
        var descriptors = new List<SafeFileHandle>();
        var exports = new List<HandedOverExportJson>();
        foreach ((string id, HandedOverExport export) in luggage.Exports)
        {
            descriptors.Add(export.Listener);
            var sessions = new List<HandedOverSessionJson>();
            foreach (HandedOverSession session in export.Sessions)
            {
                descriptors.Add(session.Connection);
                descriptors.AddRange(session.Descriptors);
                sessions.Add(new HandedOverSessionJson(session.State.ToArray(), session.Descriptors.Count));
            }

            exports.Add(new HandedOverExportJson(id, sessions));
        }

        return (exports, descriptors);
    }

    /// <summary>Reads what the other side wrote down.</summary>
    /// <exception cref="IOException">There are fewer descriptors than it speaks of.</exception>
    public static Luggage Read(IReadOnlyList<HandedOverExportJson> exports, Queue<SafeFileHandle> descriptors)
    {
        var luggage = new Luggage();
        try
        {
            foreach (HandedOverExportJson export in exports)
            {
                SafeFileHandle listener = Next();
                var sessions = new List<HandedOverSession>();
                luggage.Add(export.Id, new HandedOverExport(listener, sessions));
                foreach (HandedOverSessionJson session in export.Sessions)
                {
                    sessions.Add(new HandedOverSession(
                        Next(), session.State, [.. Enumerable.Range(0, Math.Max(0, session.Descriptors)).Select(_ => Next())]));
                }
            }

            return luggage;
        }
        catch
        {
            luggage.Dispose();
            throw;
        }
        finally
        {
            HandOverChannel.CloseAll(descriptors);
        }

        SafeFileHandle Next() =>
            descriptors.TryDequeue(out SafeFileHandle? next) ? next : throw new IOException("Descriptors are missing in what was handed over.");
    }
}
