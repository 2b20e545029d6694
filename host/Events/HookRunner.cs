// Programs of the administrator that are told of events: the executable files of a folder, each run for each event.
//
// Theory of operation. A hook is run by whoever runs the daemon, mostly root: so only what nobody else can change is run. The
// folder and the file belong to root or to the daemon's user, nobody else may write to either, and the file is no link. That is
// looked at before each run.
//
// Each hook has a queue and, while there is something in it, a thread: its processes run one after the other, in the order of the
// events, and no hook waits for another. A hook that does not keep up loses events, which is counted and said; one that takes
// longer than its time is ended with all that it started. What hooks do holds up nothing: neither volumes nor the end.

using Microsoft.Extensions.Logging;
using Polyblk.Core.Interop;
using Polyblk.Host.Model;
using Tmds.Linux;

namespace Polyblk.Host.Events;

/// <summary>Where hooks are, and what they may take.</summary>
/// <param name="Folder">The folder.</param>
public sealed record HookOptions(string Folder)
{
    /// <summary>Where an administrator puts them.</summary>
    public const string DefaultFolder = "/etc/polyblk/hooks.d";

    /// <summary>How long one may run.</summary>
    public TimeSpan TimeLimit { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How many events wait for one.</summary>
    public int MostWaiting { get; init; } = 100;

    /// <summary>How long those that run when all ends may go on.</summary>
    public TimeSpan EndLimit { get; init; } = TimeSpan.FromSeconds(1);
}

/// <summary>See the top of the file. One thread tells.</summary>
public sealed class HookRunner(HookOptions options, ILogger log) : IAsyncDisposable
{
    private readonly Dictionary<string, Hook> _hooks = new(StringComparer.Ordinal);
    private readonly HashSet<string> _refused = new(StringComparer.Ordinal);
    private readonly CancellationTokenSource _ending = new();
    private bool _isEnding;

    /// <summary>Tells every hook of an event; waits for none.</summary>
    public void Run(EventJson e)
    {
        foreach (string path in FindReadable())
        {
            Find(path)?.Add(e);
        }
    }

    /// <summary>Whether a hook has taken its first event from its queue, for tests.</summary>
    internal bool IsRunning(string path)
    {
        lock (_hooks)
        {
            return _hooks.TryGetValue(path, out Hook? hook) && hook.IsAtWork;
        }
    }

    /// <summary>Those that run may go on for a moment; then they are ended. What waits for them still is said with its
    /// number.</summary>
    public async ValueTask DisposeAsync()
    {
        Hook[] hooks;
        lock (_hooks)
        {
            // Who tells may be at it still, where a store hangs.
            _isEnding = true;
            hooks = [.. _hooks.Values];
        }

        Task[] ends = [.. hooks.Select(h => h.Idle)];
        await Task.WhenAny(Task.WhenAll(ends), Task.Delay(options.EndLimit)).ConfigureAwait(false);
        await _ending.CancelAsync().ConfigureAwait(false);
        foreach (Hook hook in hooks)
        {
            hook.Drop();
        }

        await Task.WhenAny(Task.WhenAll(ends), Task.Delay(options.EndLimit)).ConfigureAwait(false);
    }

    /// <summary>Why a file of the folder is not run; null where it is, and where it is not meant to be one.</summary>
    internal static string? ProblemOf(string path, out bool isHook)
    {
        const int O_PATH = 0x20_0000;
        const uint WritableByOthers = 0b000_010_010;
        const uint Executable = 0b001_001_001;
        isHook = false;
        int fd = Libc.open(path, O_PATH | Libc.O_NOFOLLOW | Libc.O_CLOEXEC);
        if (fd < 0)
        {
            return $"it cannot be opened (errno {-fd})";
        }

        stat stat;
        int rc;
        unsafe
        {
            rc = Libc.fstat(fd, &stat);
        }

        _ = Libc.close(fd);
        uint mode = (uint)stat.st_mode;
        bool isFolder = (mode & 0xF000) == 0x4000;
        isHook = (mode & 0xF000) == 0x8000 && (mode & Executable) != 0;
        uint owner = (uint)stat.st_uid;
        return rc < 0 ? $"it cannot be looked at (errno {-rc})"
            : !isFolder && !isHook ? "it is no executable regular file"
            : owner != 0 && owner != Libc.geteuid() ? "it belongs to another user"
            : (mode & WritableByOthers) != 0 ? "others than its owner may write to it"
            : null;
    }

    /// <summary>The hook of a file; null when all ends.</summary>
    private Hook? Find(string path)
    {
        lock (_hooks)
        {
            if (!_isEnding && !_hooks.ContainsKey(path))
            {
                _hooks.Add(path, new Hook(path, options, () => Problem(path) is null, log, _ending.Token));
            }

            return _isEnding ? null : _hooks[path];
        }
    }

    private IReadOnlyList<string> FindReadable()
    {
        try
        {
            return [.. FindHooks()];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Refuse(options.Folder, e.Message);
            return [];
        }
    }

    private IEnumerable<string> FindHooks()
    {
        if (!Directory.Exists(options.Folder))
        {
            return [];
        }

        if (ProblemOf(options.Folder, out _) is string problem)
        {
            Refuse(options.Folder, problem);
            return [];
        }

        return Directory.EnumerateFiles(options.Folder).Order(StringComparer.Ordinal).Where(path => Problem(path) is null);
    }

    private string? Problem(string path)
    {
        string? problem = ProblemOf(path, out bool isHook);
        if (problem is not null && isHook)
        {
            Refuse(path, problem);
        }

        return problem;
    }

    private void Refuse(string path, string problem)
    {
        lock (_refused)
        {
            if (_refused.Add($"{path}: {problem}"))
            {
                log.LogWarning("The hook {Path} is not run: {Problem}", path, problem);
            }
        }
    }
}
