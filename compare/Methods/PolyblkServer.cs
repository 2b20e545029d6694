// A `polyblk serve` child that several methods share: one process, one volume, several exports. The first method that starts
// makes the volume and the process; the last one that is disposed ends it. The runner starts and ends methods one after the
// other; only the first start of a server may begin ahead, on another thread.

using System.Text.Json;
using Polyblk.Compare.Load;

namespace Polyblk.Compare.Methods;

/// <summary>How to run this program.</summary>
/// <param name="Command">The program and what precedes its arguments, for a child.</param>
/// <param name="RunHere">Runs a command that ends by itself in this process, which spares the start of another: exit code,
/// output, errors.</param>
public sealed record PolyblkProgram(IReadOnlyList<string> Command, Func<IReadOnlyList<string>, Task<(int ExitCode, string Output, string Errors)>> RunHere)
{
    /// <summary>Runs a command and returns what it printed.</summary>
    /// <exception cref="MethodException">It failed; with its own words.</exception>
    public async Task<string> RunAsync(params IReadOnlyList<string> arguments)
    {
        ArgumentNullException.ThrowIfNull(arguments);
        (int exitCode, string output, string errors) = await RunHere(arguments).ConfigureAwait(false);
        return exitCode == 0 ? output : throw new MethodException($"polyblk {string.Join(' ', arguments.Take(2))} ended with {exitCode}: {errors.Trim()}");
    }
}

/// <summary>An export of a server: a frontend and its options.</summary>
/// <param name="Frontend">Its name.</param>
/// <param name="HasSocket">Whether it is reached by a Unix socket; its path is then given to it.</param>
/// <param name="Options">Its other options.</param>
public sealed record ServerExport(string Frontend, bool HasSocket, IReadOnlyList<string> Options);

/// <summary>A volume served by a child process.</summary>
/// <param name="program">This program.</param>
/// <param name="volume">The volume's name.</param>
/// <param name="level">Its level; <c>none</c> for one drive.</param>
/// <param name="exports">What is served.</param>
public sealed class PolyblkServer(PolyblkProgram program, string volume, string level, IReadOnlyList<ServerExport> exports)
{
    /// <summary>
    /// A program that ends is noticed at once; this is for one that hangs. In an emulated machine a start takes a minute.
    /// </summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(5);

    private readonly List<string> _commands = [];
    private readonly List<string> _endpoints = [];
    private ChildProcess? _child;
    private ServerCounters? _counters;
    private readonly Lock _gate = new();
    private Task? _first;
    private bool _isMade;
    private int _users;

    /// <summary>This program, for what a method does besides serving.</summary>
    public PolyblkProgram Program => program;

    /// <summary>The volume's name.</summary>
    public string Volume => volume;

    /// <summary>The VDUSE device that it serves; null for none.</summary>
    public string? VduseName { get; init; }

    /// <summary>The serving process, or none while it is down.</summary>
    public IReadOnlyList<int> ProcessIds => _child is null ? [] : [_child.Id];

    /// <inheritdoc cref="IRunningMethod.WhyEnded"/>
    public string? WhyEnded => _child?.WhyEnded;

    /// <summary>The process that served last, whether or not it lives; 0 before the first.</summary>
    public int LastProcessId { get; private set; }

    /// <summary>What was run.</summary>
    public IReadOnlyList<string> Commands => _commands;

    /// <summary>Where each export is reached, as the server said.</summary>
    public IReadOnlyList<string> Endpoints => _endpoints;

    /// <summary>Starts the child unless it runs or is being started.</summary>
    /// <exception cref="MethodException">It does not start.</exception>
    public async Task AddUserAsync(ScratchSpace scratch, CancellationToken cancellation)
    {
        Task first = StartAheadAsync(scratch, cancellation);
        try
        {
            await first.ConfigureAwait(false);
        }
        catch
        {
            // The next user tries again.
            lock (_gate)
            {
                _first = null;
            }

            throw;
        }

        await StartAgainAsync(scratch, cancellation).ConfigureAwait(false);
        _users++;
    }

    /// <summary>Makes the volume and starts the child, before its first user comes.</summary>
    /// <exception cref="MethodException">It does not start.</exception>
    public Task StartAheadAsync(ScratchSpace scratch, CancellationToken cancellation)
    {
        lock (_gate)
        {
            return _first ??= Task.Run(() => StartFirstAsync(scratch, cancellation), CancellationToken.None);
        }
    }

    /// <summary>Ends a child that was started ahead and has no user.</summary>
    /// <returns>Whether there was one.</returns>
    public async Task<bool> AbandonAsync()
    {
        await (_first ?? Task.CompletedTask).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        bool isUnused = _users == 0 && _child is not null;
        if (isUnused)
        {
            await SuspendAsync().ConfigureAwait(false);
        }

        return isUnused;
    }

    /// <summary>Whether a method uses it.</summary>
    public bool IsUsed => _users > 0;

    /// <summary>Ends the child with its last user.</summary>
    public async ValueTask RemoveUserAsync()
    {
        if (--_users == 0)
        {
            await SuspendAsync().ConfigureAwait(false);
        }
    }

    /// <summary>Ends the child in order until it is started again.</summary>
    public async Task SuspendAsync()
    {
        if (_child is not null)
        {
            await _child.DisposeAsync().ConfigureAwait(false);
            _child = null;
        }
    }

    /// <summary>Kills the child and waits until it is gone.</summary>
    public async Task KillAsync()
    {
        if (_child is not null)
        {
            await _child.KillAsync().ConfigureAwait(false);
            await _child.DisposeAsync().ConfigureAwait(false);
            _child = null;
        }
    }

    /// <summary>Serves, unless that is done already, by the command of the first time.</summary>
    /// <exception cref="MethodException">It does not start.</exception>
    public async Task StartAgainAsync(ScratchSpace scratch, CancellationToken cancellation)
    {
        if (_child is null)
        {
            await ServeAsync(scratch, cancellation).ConfigureAwait(false);
        }
    }

    /// <summary>Notifications that an export has sent since the start; null when the server does not answer.</summary>
    public long? ReadNotifications(int export) => _counters?.ReadNotifications(export);

    private async Task StartFirstAsync(ScratchSpace scratch, CancellationToken cancellation)
    {
        if (!_isMade)
        {
            await CreateAsync(scratch).ConfigureAwait(false);
            _isMade = true;
        }

        await StartAgainAsync(scratch, cancellation).ConfigureAwait(false);
    }

    private async Task CreateAsync(ScratchSpace scratch)
    {
        if (scratch.Volume is ComparedVolume theirs)
        {
            theirs.Record(scratch.StateDirectory, volume);
            _commands.Add(ShellLine.NoCommand($"this program puts a record of the volume '{theirs.Name}' into {scratch.StateDirectory}, under the name {volume}"));
            return;
        }

        int members = level == "none" ? 1 : scratch.Members;
        string[] drives = [.. Enumerable.Range(0, members).Select(i => $"file:{scratch.PathOf($"{volume}-member{i}.img")},size={scratch.MemberBytes}")];
        string[] arguments = ["volume", "create", volume, "--level", level, "--state", scratch.StateDirectory, .. drives];
        _commands.Add(ShellLine.Of([.. program.Command, .. arguments]));
        await program.RunAsync(arguments).ConfigureAwait(false);
    }

    private async Task ServeAsync(ScratchSpace scratch, CancellationToken cancellation)
    {
        string[] command =
        [
            .. program.Command, "serve", volume, "--state", scratch.StateDirectory, "--reactors", string.Join(',', scratch.TargetCpus),
            "--json", "--log-level", "warning",
            .. scratch.Volume is { IsDegraded: true } ? new[] { "--allow-degraded" } : [],
            .. exports.SelectMany((e, i) => Arguments(scratch, e, i)),
        ];
        if (VduseName is not null)
        {
            WaitingDevice.Note(scratch, VduseName, command);
        }

        ChildProcess child = Run(command, scratch.TargetCpus);
        LastProcessId = child.Id;
        string? line = null;
        try
        {
            line = await child.Output.ReadLineAsync(cancellation).AsTask().WaitAsync(s_patience, cancellation).ConfigureAwait(false);
            if (line is null)
            {
                await child.FinishAsync(cancellation).ConfigureAwait(false);
                throw new MethodException($"'polyblk serve' ended: {child.LastErrors}");
            }

            ReadReady(line);
            _counters = new ServerCounters(scratch.PathOf(Path.Combine("state", "run", volume, "control.sock")));
            _child = child;
        }
        catch (Exception e) when (e is JsonException or TimeoutException)
        {
            throw new MethodException($"'polyblk serve' did not become ready ({line}): {child.LastErrors}", e);
        }
        finally
        {
            if (_child is null)
            {
                await child.DisposeAsync().ConfigureAwait(false);
            }
        }
    }

    private void ReadReady(string line)
    {
        using JsonDocument ready = JsonDocument.Parse(line);
        _endpoints.Clear();
        _endpoints.AddRange(ready.RootElement.GetProperty("exports").EnumerateArray().Select(e => e.GetProperty("endpoint").GetString()!));
    }

    private IEnumerable<string> Arguments(ScratchSpace scratch, ServerExport export, int index) =>
        ["--frontend", export.Frontend, .. export.HasSocket ? new[] { "--socket", scratch.PathOf($"{volume}{index}.sock") } : [],
            .. scratch.Volume?.Kept is null ? [] : new[] { "--read-only" }, .. export.Options];

    private ChildProcess Run(string[] command, IReadOnlyList<int> cpus)
    {
        ChildProcess child = ChildProcess.Start(command, cpus);
        if (!_commands.Contains(child.CommandLine))
        {
            _commands.Add(child.CommandLine);
        }

        return child;
    }
}
