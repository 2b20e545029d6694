// What has happened on this host: JSON lines in the folder events of the state, shared by the daemon and every serve.
//
// Theory of operation. Events lie in segments, files that are called by the number of their first event. Who adds some holds
// the lock of the folder, so several processes write one after the other, and numbers rise over all of them. A line is written
// in one piece, and a segment is only ever read up to its last line end: what a crash has left of a line is cut off by whoever
// writes next, and is nothing to whoever reads. A segment that is full is followed by a new one, and the oldest go: readers
// need no lock, for a file that they have open stays as it was.
//
// Root's serve writes where the folder is the daemon's user's: what it makes is that one's, and it opens no link (PlainFile).
//
// Nothing here is for a reactor or a control task: the log (EventLog) has a task of its own for it.

using System.Buffers.Text;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Host.Model;
using Polyblk.Host.State;

namespace Polyblk.Host.Events;

/// <summary>How much is kept.</summary>
/// <param name="SegmentBytes">Most bytes of a segment.</param>
/// <param name="SegmentEvents">Most events of one.</param>
/// <param name="Segments">How many there are at most.</param>
public sealed record EventStoreLimits(int SegmentBytes = 512 << 10, int SegmentEvents = 1250, int Segments = 8);

/// <summary>See the top of the file. One thread adds; any process and thread reads.</summary>
public sealed class EventStore(StateDirectories directories, EventStoreLimits? limits = null)
{
    private const string Prefix = "events-";
    private const string Suffix = ".jsonl";
    private static readonly TimeSpan s_lockLimit = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan s_lockLook = TimeSpan.FromMilliseconds(2);

    private readonly EventStoreLimits _limits = limits ?? new EventStoreLimits();
    /// <summary>Of a segment: its folder is closed, where it is to be.</summary>
    private const UnixFileMode Mode =
        UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead;

    private Segment? _current;
    private long _currentBytes;
    private long _last;

    private static ReadOnlySpan<byte> LineStart => "{\"sequence\":"u8;

    /// <summary>Where they are.</summary>
    public string Folder => Path.Combine(directories.State, "events");

    /// <summary>Keeps events, durably, in their order.</summary>
    /// <returns>The same with their numbers; the first ones of them, one at least, where a later one could not be kept.</returns>
    /// <exception cref="RefusalException">None can be kept: no room, no right, or another process keeps the lock.</exception>
    public IReadOnlyList<EventJson> Append(IReadOnlyList<EventJson> events)
    {
        ArgumentNullException.ThrowIfNull(events);
        StateDirectories.Ensure(Folder);
        using SafeFileHandle held = Lock();
        var kept = new List<EventJson>(events.Count);
        SafeFileHandle? file = null;
        try
        {
            long sequence = FindLast();
            foreach (EventJson e in events)
            {
                EventJson numbered = e with { Sequence = ++sequence };
                Write(numbered, ref file);
                kept.Add(numbered);
            }

            // Once for all of them: whoever else tells events waits for the lock.
            Sync(file);
            return kept;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _current = null;
            return kept.Count > 0 ? kept
                : throw new RefusalException(RefusalKind.HostLacks, $"Events cannot be kept in {Folder}: {e.Message}", e);
        }
        finally
        {
            file?.Dispose();
        }
    }

    /// <summary>
    /// Keeps what a command has done, which has no log of events: at once, since it ends then. That it cannot be kept is no
    /// reason to say that it was not done.
    /// </summary>
    /// <param name="e">The event; its severity and message are made of the rest.</param>
    /// <param name="warn">Told where it cannot be kept.</param>
    public void Tell(EventJson e, Action<string> warn)
    {
        ArgumentNullException.ThrowIfNull(warn);
        try
        {
            _ = Append([EventTeller.Complete(e)]);
        }
        catch (RefusalException refusal)
        {
            warn(refusal.Message);
        }
    }

    /// <summary><see cref="Tell"/>, for who is given a way to tell.</summary>
    /// <param name="warn">Told where something cannot be kept.</param>
    public Action<EventJson> Teller(Action<string> warn) => e => Tell(e, warn);

    /// <summary>The last events.</summary>
    /// <param name="since">Only those with a higher number.</param>
    /// <param name="volume">Only those of this volume; null for all.</param>
    /// <param name="most">At most so many: the last ones.</param>
    public IReadOnlyList<EventJson> Read(long since = 0, string? volume = null, int most = int.MaxValue)
    {
        var last = new Queue<EventJson>();
        foreach (EventJson e in new EventCursor(this, since).Read().Where(e => volume is null || e.Volume == volume))
        {
            last.Enqueue(e);
            if (last.Count > most)
            {
                _ = last.Dequeue();
            }
        }

        return [.. last];
    }

    /// <summary>The segments that are there, the oldest first.</summary>
    internal IReadOnlyList<Segment> FindSegments()
    {
        if (!Directory.Exists(Folder))
        {
            return [];
        }

        var found = new List<Segment>();
        foreach (string path in Directory.EnumerateFiles(Folder, Prefix + "*" + Suffix))
        {
            ReadOnlySpan<char> number = Path.GetFileName(path.AsSpan())[Prefix.Length..^Suffix.Length];
            if (long.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out long first))
            {
                found.Add(new Segment(path, first));
            }
        }

        return [.. found.OrderBy(s => s.First)];
    }

    /// <summary>The number of the event in a line; null where the line is none.</summary>
    internal static long? SequenceOf(ReadOnlySpan<byte> line) =>
        line.StartsWith(LineStart) && line[^1] == (byte)'}'
        && Utf8Parser.TryParse(line[LineStart.Length..], out long sequence, out _)
            ? sequence
            : null;

    /// <summary>What a segment holds from a place on.</summary>
    internal static byte[] ReadFrom(SafeFileHandle file, long offset)
    {
        byte[] bytes = new byte[Math.Max(0, RandomAccess.GetLength(file) - offset)];
        int length = 0;
        int read;
        do
        {
            read = RandomAccess.Read(file, bytes.AsSpan(length), offset + length);
            length += read;
        }
        while (read > 0 && length < bytes.Length);

        return length == bytes.Length ? bytes : bytes[..length];
    }

    /// <summary>The last number that was given, by whichever process; cuts off what is left of a line.</summary>
    private long FindLast()
    {
        IReadOnlyList<Segment> segments = FindSegments();
        Segment? newest = segments.Count == 0 ? null : segments[^1];
        if (newest is null)
        {
            _current = null;
            return _last;
        }

        if (newest == _current && new FileInfo(newest.Path).Length == _currentBytes)
        {
            return _last;
        }

        using SafeFileHandle file = PlainFile.OpenOrMake(newest.Path, Mode);
        byte[] bytes = ReadFrom(file, 0);
        ReadOnlySpan<byte> left = bytes;
        left = left[..(left.LastIndexOf((byte)'\n') + 1)];
        if (left.Length < bytes.Length)
        {
            RandomAccess.SetLength(file, left.Length);
        }

        _current = newest;
        _currentBytes = left.Length;
        _last = Math.Max(_last, newest.First - 1);
        while (!left.IsEmpty)
        {
            // From the end: the last line that is one.
            int start = left[..^1].LastIndexOf((byte)'\n') + 1;
            if (SequenceOf(left[start..^1]) is long sequence)
            {
                _last = Math.Max(_last, sequence);
                break;
            }

            left = left[..start];
        }

        return _last;
    }

    private static void Sync(SafeFileHandle? file)
    {
        if (file is not null && Libc.fdatasync((int)file.DangerousGetHandle()) is < 0 and int rc)
        {
            throw new IOException($"what was written is perhaps not on the disk (errno {-rc})");
        }
    }

    /// <param name="e">What is written.</param>
    /// <param name="file">The newest segment, where it is open: left open, and not synced.</param>
    private void Write(EventJson e, ref SafeFileHandle? file)
    {
        byte[] line = [.. JsonSerializer.SerializeToUtf8Bytes(e, EventLineJson.Default.EventJson), (byte)'\n'];
        bool isFull = _current is not { } now || _currentBytes + line.Length > _limits.SegmentBytes
            || e.Sequence - now.First >= _limits.SegmentEvents;
        if (isFull)
        {
            Sync(file);
            file?.Dispose();
            file = null;
            string name = string.Create(CultureInfo.InvariantCulture, $"{Prefix}{e.Sequence:d19}{Suffix}");
            _current = new Segment(Path.Combine(Folder, name), e.Sequence);
            _currentBytes = 0;
            foreach (Segment old in FindSegments().SkipLast(_limits.Segments - 1))
            {
                File.Delete(old.Path);
            }
        }

        file ??= PlainFile.OpenOrMake(_current!.Path, Mode);
        RandomAccess.Write(file, line, _currentBytes);
        _currentBytes += line.Length;
        _last = e.Sequence;
    }

    private SafeFileHandle Lock()
    {
        string path = Path.Combine(Folder, "lock");
        SafeFileHandle handle = VolumeLock.OpenFile(path);
        long began = Stopwatch.GetTimestamp();
        int rc;
        while ((rc = Libc.flock((int)handle.DangerousGetHandle(), Libc.LOCK_EX | Libc.LOCK_NB)) is -Errno.EAGAIN or -Errno.EINTR
            && Stopwatch.GetElapsedTime(began) < s_lockLimit)
        {
            Thread.Sleep(s_lockLook);
        }

        if (rc >= 0)
        {
            return handle;
        }

        handle.Dispose();
        throw RefusalException.HostLacks($"{path} cannot be locked (errno {-rc}).", $"'fuser {path}' tells who holds it.");
    }
}

/// <summary>A file of events.</summary>
/// <param name="Path">Where it is.</param>
/// <param name="First">The number of its first event.</param>
internal sealed record Segment(string Path, long First);
