// What is to be done so that a host has what a declaration says.
//
// Theory of operation. Everything is looked at before anything is done: whether a volume can be made of its drives, whether what
// differs can be changed in place, whether an export that goes is in use. What differs and cannot be changed in place is refused,
// with the command that does it: no apply ever takes a volume, a drive or a block of data away. What the declaration does not say
// is left as it is; of exports, too, unless they are to be pruned.
//
// An export is what it says. One with other settings is another one: the new one is made, and the old one is pruned.

using Microsoft.Extensions.Logging;
using Polyblk.Host.Daemon;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Host.Declared;

/// <summary>How a declaration is applied.</summary>
/// <param name="Prune">Exports that the declaration does not name, of volumes whose exports it names, are removed.</param>
public sealed record ApplyOptions(bool Prune)
{
    /// <summary>Opens the log of a volume that is opened for a change.</summary>
    public required Func<string, ILoggerFactory> OpenLog { get; init; }

    /// <summary>Told what is good to know.</summary>
    public Action<string> Note { get; init; } = _ => { };

    /// <summary>Told what did not matter enough to give up.</summary>
    public Action<string> Warn { get; init; } = _ => { };
}

/// <summary>Makes plans.</summary>
public sealed partial class Planner
{
    private const string NothingToCompare = "nothing of it is ever rebuilt or compared.";

    private readonly StateDirectories _directories;
    private readonly Declaration _declared;
    private readonly ApplyOptions _options;
    private readonly VolumeStore _store;
    private readonly Problems _problems;
    private readonly List<ApplyStep> _steps = [];
    private readonly List<string> _notes = [];
    private IReadOnlyList<VolumeRecord> _records = [];
    private int? _daemonPid;
    private DaemonJson? _daemon;

    private Planner(StateDirectories directories, Declaration declared, ApplyOptions options)
    {
        (_directories, _declared, _options) = (directories, declared, options);
        _store = new VolumeStore(directories);
        _problems = new Problems(declared.Document);
    }

    /// <summary>Makes one. Changes nothing.</summary>
    /// <param name="directories">Where the records are.</param>
    /// <param name="declared">What the host is to have.</param>
    /// <param name="options">How it is applied.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <exception cref="RefusalException">
    /// Something cannot be done; the message has a line for each thing, with its place.
    /// </exception>
    public static async Task<ApplyPlan> MakeAsync(
        StateDirectories directories, Declaration declared, ApplyOptions options, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(declared);
        var planner = new Planner(directories, declared, options);
        await planner.LookAsync(cancellation).ConfigureAwait(false);
        foreach (DeclaredVolume volume in declared.Volumes)
        {
            await planner.PlanAsync(volume, cancellation).ConfigureAwait(false);
        }

        planner.CheckDrives();
        planner.CheckSockets();
        planner._problems.Throw(RefusalKind.Refused);
        return new ApplyPlan(planner._steps, planner._notes);
    }

    private async Task LookAsync(CancellationToken cancellation)
    {
        _records = _store.List(_options.Warn);
        _daemonPid = VolumeLock.Holder(_directories, StateDirectories.Daemon);
        _daemon = _daemonPid is null ? null
            : await DaemonClient.ShowAsync(_directories, cancellation).ConfigureAwait(false)
                ?? throw RefusalException.Refused($"The daemon (process {_daemonPid}) does not answer.", "Its log says more.");
    }

    private async Task PlanAsync(DeclaredVolume volume, CancellationToken cancellation)
    {
        int before = _steps.Count;
        VolumeRecord? record = _records.FirstOrDefault(r => r.Name == volume.Name) ?? _store.TryGet(volume.Name);
        if (record is null)
        {
            await PlanNewAsync(volume, cancellation).ConfigureAwait(false);
        }
        else
        {
            RefuseOtherShape(volume, record);
            PlanKept(volume, record);
            await PlanDrivesAsync(volume, record).ConfigureAwait(false);
            await PlanChecksumsAsync(volume, record, cancellation).ConfigureAwait(false);
            await PlanConsistencyAsync(volume, record, cancellation).ConfigureAwait(false);
            if (_steps.Count == before)
            {
                Keep(new Difference(DifferenceKind.None, volume.Name));
            }
        }

        PlanExports(volume, record);
    }

    /// <summary>Two exports on one socket would find each other there.</summary>
    private void CheckSockets()
    {
        var owners = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach ((string volume, ExportRecord export) in
            from record in _records
            where !_declared.Volumes.Any(v => v.Name == record.Name && v.Exports is not null)
            from export in record.Exports ?? []
            where export.SocketPath is not null
            select (record.Name, export))
        {
            owners[export.SocketPath!] = ExportRecord.IdOf(volume, export.Frontend, export.Index);
        }

        foreach (DeclaredVolume volume in _declared.Volumes)
        {
            foreach (DeclaredExport export in (volume.Exports ?? []).Where(e => e.Wanted.SocketPath is not null))
            {
                if (!owners.TryAdd(export.Wanted.SocketPath!, $"{volume.Name}/{export.Wanted.Frontend}"))
                {
                    string owner = owners[export.Wanted.SocketPath!];
                    _problems.Add(
                        export.At, KeyOf(volume, Keys.Exports),
                            $"the socket {export.Wanted.SocketPath} is that of {owner} already.");
                }
            }
        }
    }

    private void Keep(Difference what) => _steps.Add(new ApplyStep(ApplyPhase.Nothing, what, null));

    private void Add(ApplyPhase phase, Difference what, Func<CancellationToken, Task<Difference>> act) =>
        _steps.Add(new ApplyStep(phase, what, act));

    private void Refuse(DeclaredVolume volume, string? key, string problem) =>
        _problems.Add(key is null ? volume.At : volume.PlaceOf(key), KeyOf(volume, key), problem);

    private static string KeyOf(DeclaredVolume volume, string? key) =>
        key is null ? $"{Keys.Volumes}.{volume.Name}" : $"{Keys.Volumes}.{volume.Name}.{key}";
}
