using System.Text.Json;
using Microsoft.Win32.SafeHandles;
using Polyblk.Host.Model;
using Polyblk.Host.State;

namespace Polyblk.Host.Events;

/// <summary>A place in the events of this host, from which somebody reads on: one thread at a time.</summary>
/// <param name="store">Where they are kept.</param>
/// <param name="since">The number after which it begins.</param>
public sealed class EventCursor(EventStore store, long since)
{
    private Segment? _segment;
    private long _offset;

    /// <summary>The number of the last event that was read, or the one before the first.</summary>
    public long Last { get; private set; } = since;

    /// <summary>
    /// The events that have come since. What went before it was read is missing: the numbers tell. A line that is no event, or of
    /// a newer program that says it otherwise, is passed over.
    /// </summary>
    public IEnumerable<EventJson> Read()
    {
        IReadOnlyList<Segment> segments = store.FindSegments();
        int first = 0;
        for (int i = 0; i < segments.Count; i++)
        {
            // The last one that begins at or before the next event, or the one that is being read.
            first = segments[i].First <= Last + 1 || segments[i] == _segment ? i : first;
        }

        foreach (Segment segment in segments.Skip(first))
        {
            foreach (EventJson e in ReadOne(segment))
            {
                yield return e;
            }
        }
    }

    private IEnumerable<EventJson> ReadOne(Segment segment)
    {
        if (segment != _segment)
        {
            (_segment, _offset) = (segment, 0);
        }

        byte[] bytes = Load(segment.Path, _offset);
        int end;
        for (int at = 0; (end = Array.IndexOf(bytes, (byte)'\n', at)) >= 0; at = end + 1)
        {
            _offset += end + 1 - at;
            long sequence = EventStore.SequenceOf(bytes.AsSpan(at, end - at)) ?? 0;
            if (sequence > Last && Parse(bytes, at, end) is { } e)
            {
                Last = sequence;
                yield return e;
            }
        }
    }

    private static byte[] Load(string path, long offset)
    {
        try
        {
            using SafeFileHandle file = PlainFile.OpenToRead(path);
            return EventStore.ReadFrom(file, offset);
        }
        catch (FileNotFoundException)
        {
            return []; // The oldest segment has just gone.
        }
    }

    private static EventJson? Parse(byte[] bytes, int start, int end)
    {
        try
        {
            return JsonSerializer.Deserialize(bytes.AsSpan(start, end - start), EventLineJson.Default.EventJson);
        }
        catch (JsonException)
        {
            return null;
        }
    }
}
