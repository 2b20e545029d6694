using System.Globalization;
using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Logging;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Core.Logging;
using Polyblk.Host.Model;
using Tmds.Linux;

namespace Polyblk.Host.Events;

/// <summary>One hook: its queue, and the thread that runs it while there is something in it.</summary>
/// <param name="path">The program.</param>
/// <param name="options">What it may take.</param>
/// <param name="mayRun">Whether it may be run still.</param>
/// <param name="log">For what it says, and what becomes of it.</param>
/// <param name="end">All ends.</param>
internal sealed class Hook(string path, HookOptions options, Func<bool> mayRun, ILogger log, CancellationToken end)
{
    private const int MostOutputBytes = 2048;
    private const int LookMs = 20;
    private const string Path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    private readonly Lock _lock = new();
    private readonly Queue<EventJson> _waiting = [];
    private Task _running = Task.CompletedTask;
    private bool _runs;
    private bool _isOver;
    private int _lost;

    /// <summary>Completes when nothing of what was added waits any more.</summary>
    public Task Idle
    {
        get
        {
            lock (_lock)
            {
                return _running;
            }
        }
    }

    /// <summary>Whether it runs, and nothing waits.</summary>
    public bool IsAtWork
    {
        get
        {
            lock (_lock)
            {
                return _runs && _waiting.Count == 0;
            }
        }
    }

    /// <summary>Adds an event; waits for nothing.</summary>
    public void Add(EventJson e)
    {
        lock (_lock)
        {
            if (_isOver)
            {
                return;
            }

            if (_waiting.Count >= options.MostWaiting)
            {
                if (_lost++ == 0)
                {
                    log.LogWarning("The hook {Path} does not keep up: it is not told of further events until it does", path);
                }

                return;
            }

            _waiting.Enqueue(e);
            if (!_runs)
            {
                _runs = true;
                _running = Task.Factory.StartNew(
                    Main, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
            }
        }
    }

    /// <summary>All ends: what waits is not told it, nor what is added still.</summary>
    public void Drop()
    {
        int left;
        lock (_lock)
        {
            left = _waiting.Count + _lost;
            _waiting.Clear();
            _lost = 0;
            _isOver = true;
        }

        if (left != 0)
        {
            log.LogWarning("The hook {Path} was not told of {Count} events: the end came first", path, left);
        }
    }

    private void Main()
    {
        while (true)
        {
            EventJson? next;
            int lost;
            lock (_lock)
            {
                if (end.IsCancellationRequested || !_waiting.TryDequeue(out next))
                {
                    _runs = false;
                    return;
                }

                lost = _lost;
                _lost = 0;
            }

            if (lost != 0)
            {
                log.LogWarning("The hook {Path} was not told of {Count} events: it did not keep up", path, lost);
            }

            try
            {
                RunOne(next);
            }
#pragma warning disable CA1031 // Whatever keeps one event from a hook is said, and the next one is tried.
            catch (Exception e)
#pragma warning restore CA1031
            {
                log.LogWarning("The hook {Path} could not be run: {Reason}", path, e.Message);
            }
        }
    }

    private unsafe void RunOne(EventJson e)
    {
        if (!mayRun())
        {
            return;
        }

        int input = MakeInput(JsonSerializer.SerializeToUtf8Bytes(e, EventLineJson.Default.EventJson));
        int* pipe = stackalloc int[2];
        int rc = Libc.pipe2(pipe, Libc.O_CLOEXEC | Libc.O_NONBLOCK);
        if (rc < 0)
        {
            _ = Libc.close(input);
            throw new IOException($"there is no pipe (errno {-rc})");
        }

        SpawnedProcess process;
        try
        {
            process = SpawnedProcess.Start(path, Environment(e), input, pipe[1]);
        }
        catch
        {
            _ = Libc.close(pipe[0]);
            throw;
        }
        finally
        {
            _ = Libc.close(input);
            _ = Libc.close(pipe[1]);
        }

        using (process)
        {
            Watch(process, pipe[0]);
        }
    }

    private void Watch(SpawnedProcess process, int output)
    {
        long began = System.Diagnostics.Stopwatch.GetTimestamp();
        var said = new byte[MostOutputBytes];
        long length = 0;
        bool isLate = false;
        int status;
        while (!process.HasEnded(out status))
        {
            isLate = System.Diagnostics.Stopwatch.GetElapsedTime(began) > options.TimeLimit;
            if (isLate || end.IsCancellationRequested)
            {
                process.Dispose();
                continue;
            }

            length += Drain(output, said, length, LookMs);
        }

        length += Drain(output, said, length, 0);
        _ = Libc.close(output);
        if (length != 0)
        {
            string text = Encoding.UTF8.GetString(said, 0, (int)Math.Min(length, MostOutputBytes)).TrimEnd();
            string more = length > MostOutputBytes ? $" ({length - MostOutputBytes} bytes more)" : string.Empty;
            log.LogInformation("The hook {Path} says: {Text}{More}", path, LogText.Escape(text), more);
        }

        if (isLate)
        {
            log.LogWarning("The hook {Path} took longer than {Seconds} s, and was ended", path, options.TimeLimit.TotalSeconds);
        }
        else if (status != 0)
        {
            log.LogWarning("The hook {Path} ended with the status {Status}", path, status);
        }
    }

    /// <summary>Takes what a hook says: as much as is kept, and the rest to nowhere.</summary>
    /// <returns>How many bytes that were.</returns>
    private static unsafe long Drain(int output, byte[] said, long length, int waitMs)
    {
        const int Piece = 4096;
        byte* piece = stackalloc byte[Piece];
        var poll = new pollfd { fd = output, events = Libc.POLLIN };
        int ready = Libc.poll(&poll, 1, waitMs);
        if (ready > 0 && (poll.revents & Libc.POLLIN) == 0)
        {
            // It says nothing any more, and has not ended.
            Thread.Sleep(waitMs);
            return 0;
        }

        long taken = 0;
        while (ready > 0 && taken < 16 * Piece)
        {
            long read = Libc.read(output, piece, Piece);
            if (read <= 0)
            {
                break;
            }

            int keep = (int)Math.Clamp(MostOutputBytes - length - taken, 0, read);
            new ReadOnlySpan<byte>(piece, keep).CopyTo(said.AsSpan((int)Math.Min(length + taken, MostOutputBytes)));
            taken += read;
        }

        return taken;
    }

    /// <summary>A file in memory, so that a hook that does not read keeps nobody.</summary>
    private static unsafe int MakeInput(byte[] json)
    {
        int fd = Libc.memfd_create("polyblk-event", Libc.MFD_CLOEXEC);
        if (fd < 0)
        {
            throw new IOException($"there is no memory for the event (errno {-fd})");
        }

        fixed (byte* bytes = json)
        {
            if (Libc.pwrite(fd, bytes, (nuint)json.Length, 0) != json.Length)
            {
                _ = Libc.close(fd);
                throw new IOException("there is no memory for the event");
            }
        }

        return fd;
    }

    /// <summary>A small environment of its own; what the daemon has in its own is nobody else's business.</summary>
    private static List<string> Environment(EventJson e)
    {
        var variables = new List<string> { Path, "LC_ALL=C.UTF-8" };
        (string Name, object? Value)[] fields =
        [
            ("SEQUENCE", e.Sequence),
            ("TIME", e.Time.ToString("O", CultureInfo.InvariantCulture)),
            ("SEVERITY", e.Severity.ToString().ToLowerInvariant()),
            ("KIND", e.Kind),
            ("VOLUME", e.Volume),
            ("MESSAGE", e.Message),
            ("MEMBER", e.Member),
            ("DRIVE", e.Drive?.Path),
            ("DRIVE_BY_ID", e.Drive?.ById),
            ("DRIVE_SERIAL", e.Drive?.Serial),
            ("DRIVE_SLOT", e.Drive?.Slot),
            ("NEW_DRIVE", e.NewDrive?.Path),
            ("OPERATION", e.Operation),
            ("OFFSET_BYTES", e.OffsetBytes),
            ("LENGTH_BYTES", e.LengthBytes),
            ("ERRNO", e.Errno),
            ("EXPORT", e.Export),
            ("SESSION", e.Session),
            ("PEER", e.Peer),
            ("REASON", e.Reason),
        ];
        variables.AddRange(fields.Where(f => f.Value is not null).Select(f =>
            $"POLYBLK_EVENT_{f.Name}={LogText.Escape(Convert.ToString(f.Value, CultureInfo.InvariantCulture)!)}"));
        return variables;
    }
}
