// What is to be done so that a host has what a declaration says.
//
// Theory of operation. Everything is looked at before anything is done: whether a volume can be made of its drives, whether what
// differs can be changed in place, whether an export that goes is in use. What differs and cannot be changed in place is refused,
// with the command that does it: no apply ever takes a volume, a drive or a block of data away. What the declaration does not say
// is left as it is; of exports, too, unless they are to be pruned.
//
// An export is what it says. One with other settings is another one: the new one is made, and the old one is pruned.

using System.Globalization;
using Microsoft.Extensions.Logging;
using Polyblk.Core.Block;
using Polyblk.Drives;
using Polyblk.Host.Daemon;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
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
public sealed class Planner
{
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
    /// <exception cref="RefusalException">Something cannot be done; the message has a line for each thing, with its place.</exception>
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
            await PlanConsistencyAsync(volume, record, cancellation).ConfigureAwait(false);
            if (_steps.Count == before)
            {
                Keep(new Difference(DifferenceKind.None, volume.Name));
            }
        }

        PlanExports(volume, record);
    }

    private async Task PlanNewAsync(DeclaredVolume volume, CancellationToken cancellation)
    {
        if (volume.Level is null || volume.Drives is null)
        {
            Refuse(volume, null, $"there is no such volume, and to make it '{DeclarationReader.LevelKey}' and '{DeclarationReader.DrivesKey}' must be said.");
            return;
        }

        try
        {
            VolumeRequest request = VolumeCreation.Check(new VolumeWish(volume.Name, volume.Level, volume.Drives)
            {
                ChunkBytes = volume.ChunkBytes, SizeBytes = volume.SizeBytes, Consistency = volume.Consistency,
            });
            if (request.Level is null && (volume.MaxRebuildBytesPerSecond ?? volume.CheckEverySeconds) is not null)
            {
                throw RefusalException.Invalid("level none is one drive as it is: nothing of it is ever rebuilt or compared.");
            }

            if (volume.Spares is { Count: > 0 } && (request.Level is null || request.Drives[0].IsVolatile))
            {
                throw RefusalException.Invalid("only an array of drives that last has spares.");
            }

            await VolumeMaker.CheckAsync(request, cancellation).ConfigureAwait(false);
            string what = string.Create(CultureInfo.InvariantCulture, $"{volume.Level}, {request.Drives.Count} drive(s)");
            Add(ApplyPhase.Volume, new Difference(DifferenceKind.Create, volume.Name) { To = what }, async c =>
            {
                VolumeRecord made = await VolumeCreation.CreateAsync(
                    _directories, request, record => WithKept(record, volume), _options.Note, _options.Warn, c).ConfigureAwait(false);
                return new Difference(DifferenceKind.Create, made.Name) { To = $"{what}, {ByteSize.FormatRounded(made.SizeBytes)}" };
            });
            foreach (string spare in volume.Spares ?? [])
            {
                await PlanSpareAsync(volume, spare).ConfigureAwait(false);
            }
        }
        catch (Exception e) when (Refusals.Of(e) is Refusal refusal)
        {
            bool isInTheWay = refusal.Kind == RefusalKind.Refused;
            Refuse(volume, null, refusal.Message + (isInTheWay ? " Apply overwrites nothing: 'polyblk volume create' does, when it is told to." : string.Empty));
        }
    }

    private static VolumeRecord WithKept(VolumeRecord record, DeclaredVolume volume)
    {
        record = volume.MaxRebuildBytesPerSecond is long rate ? record.WithRebuildLimit(rate) : record;
        record = volume.CheckEverySeconds is long seconds ? record with { CheckEverySeconds = seconds } : record;
        record = volume.Isolate is bool isolate ? record.WithIsolate(isolate) : record;
        return volume.Autostart is bool starts ? record.WithAutostart(starts) : record;
    }

    /// <summary>What a volume has from its making on.</summary>
    private void RefuseOtherShape(DeclaredVolume volume, VolumeRecord record)
    {
        if (volume.Level is string level && level != record.Level)
        {
            Refuse(volume, DeclarationReader.LevelKey, $"volume '{record.Name}' is {record.Level}, and stays that: make another one, and copy.");
        }

        if (volume.ChunkBytes is long chunk && chunk != record.ChunkBytes)
        {
            string has = record.ChunkBytes == 0 ? "no chunk" : $"chunks of {ByteSize.Format(record.ChunkBytes)}";
            Refuse(volume, DeclarationReader.ChunkKey, $"volume '{record.Name}' has {has}, and keeps that: make another one, and copy.");
        }

        if (volume.SizeBytes is long size && size != record.SizeBytes)
        {
            Refuse(volume, DeclarationReader.SizeKey, $"volume '{record.Name}' has {ByteSize.Format(record.SizeBytes)}. "
                + $"'polyblk volume resize {record.Name} --size {ByteSize.Format(size)}' changes that.");
        }
    }

    private void PlanKept(DeclaredVolume volume, VolumeRecord record)
    {
        var settings = new VolumeSettings(_directories, record.Name);
        if ((volume.MaxRebuildBytesPerSecond ?? volume.CheckEverySeconds) is not null && record.Level == VolumeOpener.NoLevel)
        {
            Refuse(volume, null, $"volume '{record.Name}' is one drive as it is (level none): nothing of it is ever rebuilt or compared.");
            return;
        }

        if (volume.MaxRebuildBytesPerSecond is long rate && rate != (record.MaxRebuildBytesPerSecond ?? 0))
        {
            Change(DeclarationReader.RebuildRateKey, DeclarationWriter.Rate(record.MaxRebuildBytesPerSecond), DeclarationWriter.Rate(rate), c => settings.LimitRebuildAsync(rate, c));
        }

        if (volume.CheckEverySeconds is long seconds && seconds != (long)record.CheckEvery.TotalSeconds)
        {
            if (record.Volatile)
            {
                Refuse(volume, DeclarationReader.CheckEveryKey, $"volume '{record.Name}' is volatile: it begins empty each time, and is never compared.");
                return;
            }

            Change(
                DeclarationReader.CheckEveryKey, Duration.Format(record.CheckEvery), Duration.Format(TimeSpan.FromSeconds(seconds)), c => settings.CheckEveryAsync(seconds, c));
        }

        PlanSwitch(DeclarationReader.AutostartKey, volume.Autostart, record.Autostart ?? true, settings.SetAutostart);
        PlanSwitch(DeclarationReader.IsolateKey, volume.Isolate, record.Isolate ?? false, settings.SetIsolate);

        void PlanSwitch(string key, bool? wanted, bool has, Func<bool, VolumeRecord> set)
        {
            if (wanted is bool value && value != has)
            {
                Change(key, DeclarationWriter.Switch(has), DeclarationWriter.Switch(value), c =>
                {
                    c.ThrowIfCancellationRequested();
                    _ = set(value);
                    return Task.CompletedTask;
                });
            }
        }

        void Change(string key, string from, string to, Func<CancellationToken, Task> change)
        {
            var what = new Difference(DifferenceKind.Change, record.Name) { Key = key, From = from, To = to };
            Add(ApplyPhase.Setting, what, async c =>
            {
                await change(c).ConfigureAwait(false);
                return what;
            });
        }
    }

    /// <summary>
    /// Who is a member is in the superblocks, and changes: spares take places. So drives are compared as one set, and only a spare
    /// is added.
    /// </summary>
    private async Task PlanDrivesAsync(DeclaredVolume volume, VolumeRecord record)
    {
        List<string> left = [.. record.Drives];
        foreach ((string drive, bool isSpare) in (volume.Drives ?? []).Select(d => (d, false)).Concat((volume.Spares ?? []).Select(d => (d, true))))
        {
            DriveSpec wanted = DriveList.ParseOne(drive);
            int at = left.FindIndex(d => new VolumeDrive(DriveList.ParseOne(d), null).Is(wanted));
            if (at >= 0)
            {
                left.RemoveAt(at);
            }
            else if (!isSpare)
            {
                Refuse(volume, DeclarationReader.DrivesKey, $"{drive} is no drive of volume '{record.Name}'. 'polyblk volume replace {record.Name} OLD {drive}' lets it take "
                    + $"the place of another, 'polyblk volume reshape {record.Name} --add {drive}' spreads the volume over it.");
            }
            else if (record.Volatile || record.Level == VolumeOpener.NoLevel)
            {
                Refuse(volume, DeclarationReader.SparesKey, "only an array of drives that last has spares.");
            }
            else
            {
                await PlanSpareAsync(volume, drive).ConfigureAwait(false);
            }
        }

        foreach (string drive in volume.Drives is null ? [] : left)
        {
            bool isMember = record.Members is not IReadOnlyList<MemberRecord> members || members.Any(m => m.Drive == drive);
            if (isMember || volume.Spares is not null)
            {
                Refuse(volume, isMember ? DeclarationReader.DrivesKey : DeclarationReader.SparesKey, $"volume '{record.Name}' has {drive}, which is not named. Name it"
                    + (isMember ? $"; 'polyblk volume replace {record.Name} {drive} NEW' puts another one in its place." : $", or let go of it: polyblk volume remove {record.Name} {drive}"));
            }
        }
    }

    private async Task PlanSpareAsync(DeclaredVolume volume, string drive)
    {
        try
        {
            await VolumeMaker.CheckNewDriveAsync(DriveList.ParseOne(drive)).ConfigureAwait(false);
        }
        catch (RefusalException e)
        {
            Refuse(volume, DeclarationReader.SparesKey, e.Message);
            return;
        }

        var what = new Difference(DifferenceKind.Change, volume.Name) { Key = DeclarationReader.SparesKey, To = drive };
        Add(ApplyPhase.Spare, what, async c =>
        {
            var request = new ControlRequest { Command = "add-spare", Drive = drive };
            if (await ControlClient.AskAsync(_directories, volume.Name, request, c).ConfigureAwait(false) is null)
            {
                _ = await StoppedVolume.ChangeAsync(
                    _directories, volume.Name, new MemberChange(MemberChangeKind.AddSpare, drive), runsJobs: false, () => _options.OpenLog(volume.Name),
                    _options.Warn, (done, _) => Task.FromResult(done.Message), c).ConfigureAwait(false);
            }

            return what;
        });
    }

    private async Task PlanConsistencyAsync(DeclaredVolume volume, VolumeRecord record, CancellationToken cancellation)
    {
        if (volume.Consistency is not string wanted)
        {
            return;
        }

        VolumeJson now = await VolumeView.FullAsync(_directories, record, _ => { }, cancellation).ConfigureAwait(false);
        if (now.Array?.Consistency is not string has)
        {
            Refuse(volume, DeclarationReader.ConsistencyKey, $"volume '{record.Name}' has no members that could disagree, or its drives cannot be read.");
            return;
        }

        if (has == wanted)
        {
            return;
        }

        bool isServed = now.Live is not null || (_daemon is not null && volume.Exports is { Count: > 0 });
        if (!isServed)
        {
            Refuse(volume, DeclarationReader.ConsistencyKey, $"volume '{record.Name}' has {has}. That is kept in its drives, and changed while it is served: "
                + $"start the daemon, or 'polyblk volume start {record.Name}'.");
            return;
        }

        var what = new Difference(DifferenceKind.Change, record.Name) { Key = DeclarationReader.ConsistencyKey, From = has, To = wanted };
        Add(ApplyPhase.Served, what, async c =>
        {
            await new VolumeSettings(_directories, record.Name).SetConsistencyAsync(wanted, c).ConfigureAwait(false);
            return what;
        });
    }

    private void PlanExports(DeclaredVolume volume, VolumeRecord? record)
    {
        if (volume.Exports is not IReadOnlyList<DeclaredExport> wanted)
        {
            return;
        }

        List<ExportRecord> left = [.. record?.Exports ?? []];
        var missing = new List<DeclaredExport>();
        foreach (DeclaredExport export in wanted)
        {
            int at = left.FindIndex(e => e.IsLike(export.Wanted));
            if (at < 0)
            {
                missing.Add(export);
                continue;
            }

            Keep(OfExport(DifferenceKind.None, volume.Name, left[at]));
            left.RemoveAt(at);
        }

        foreach (ExportRecord other in left)
        {
            PlanOther(volume, other, missing);
        }

        if (missing.Count > 0 && VolumeLock.Holder(_directories, volume.Name) is int holder && !VolumeLock.IsDaemon(_directories, volume.Name, holder))
        {
            Refuse(volume, DeclarationReader.ExportsKey, $"process {holder} works on volume '{volume.Name}', and the daemon cannot serve it: end it first with 'polyblk volume stop {volume.Name}'.");
        }

        foreach (DeclaredExport export in missing)
        {
            Difference what = OfExport(DifferenceKind.Create, volume.Name, export.Wanted) with { Export = null };
            Add(ApplyPhase.Export, what, c => AddExportAsync(what, export.Wanted, c));
        }
    }

    /// <summary>An export that is there, and that the declaration does not name.</summary>
    private void PlanOther(DeclaredVolume volume, ExportRecord other, List<DeclaredExport> missing)
    {
        string id = ExportRecord.IdOf(volume.Name, other.Frontend, other.Index);
        if (!_options.Prune)
        {
            if (missing.Find(m => m.Wanted.SocketPath is not null && m.Wanted.SocketPath == other.SocketPath) is DeclaredExport same)
            {
                _problems.Add(
                    same.At, $"{DeclarationReader.VolumesKey}.{volume.Name}.{DeclarationReader.ExportsKey}",
                    $"the export {id} has the socket {other.SocketPath}, and other settings ({other.Describe()}): --prune replaces it.");
            }

            _notes.Add($"The export {id} ({other.Describe()}) is not in {_declared.Document}, and stays; --prune removes it.");
            return;
        }

        int sessions = _daemon?.Volumes.SelectMany(v => v.Exports).FirstOrDefault(e => e.Id == id)?.Live?.Statistics?.Sessions ?? 0;
        if (sessions > 0)
        {
            Refuse(volume, DeclarationReader.ExportsKey, string.Create(
                CultureInfo.InvariantCulture, $"the export {id} is not named, and is in use by {sessions}: end that, or 'polyblk export remove {id} --force'."));
            return;
        }

        Difference what = OfExport(DifferenceKind.Remove, volume.Name, other);
        Add(ApplyPhase.Remove, what, async c =>
        {
            await new ExportSettings(_directories).RemoveAsync(id, c).ConfigureAwait(false);
            return what;
        });
    }

    private async Task<Difference> AddExportAsync(Difference what, ExportRecord export, CancellationToken cancellation)
    {
        string id = await new ExportSettings(_directories).AddAsync(what.Volume, export, cancellation).ConfigureAwait(false);
        return what with { Export = id };
    }

    /// <summary>A drive that comes to a volume belongs to no other one, here or in the declaration.</summary>
    private void CheckDrives()
    {
        var others = new List<(string Volume, VolumeDrive Drive)>(
            from record in _records
            from drive in record.Drives
            select (record.Name, new VolumeDrive(DriveList.ParseOne(drive), null)));
        foreach (DeclaredVolume volume in _declared.Volumes)
        {
            foreach (DriveSpec drive in (volume.Drives ?? []).Concat(volume.Spares ?? []).Select(DriveList.ParseOne).Where(d => !d.IsVolatile))
            {
                if (others.Find(o => o.Drive.Is(drive) && o.Volume != volume.Name).Volume is string owner)
                {
                    Refuse(volume, DeclarationReader.DrivesKey, $"{drive.Text} is a drive of volume '{owner}'.");
                }

                others.Add((volume.Name, new VolumeDrive(drive, null)));
            }
        }

        foreach (DeclaredVolume volume in _declared.Volumes)
        {
            _ = _problems.Try(volume.PlaceOf(DeclarationReader.DrivesKey), KeyOf(volume, null), () => DriveList.Parse((volume.Drives ?? []).Concat(volume.Spares ?? [])));
        }
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
                    _problems.Add(export.At, KeyOf(volume, DeclarationReader.ExportsKey), $"the socket {export.Wanted.SocketPath} is that of {owners[export.Wanted.SocketPath!]} already.");
                }
            }
        }
    }

    private static Difference OfExport(DifferenceKind kind, string volume, ExportRecord export) => new(kind, volume)
    {
        Frontend = export.Frontend,
        Export = ExportRecord.IdOf(volume, export.Frontend, export.Index),
        To = kind == DifferenceKind.Create && export.Describe() is { Length: > 0 } words ? words : null,
    };

    private void Keep(Difference what) => _steps.Add(new ApplyStep(ApplyPhase.Nothing, what, null));

    private void Add(ApplyPhase phase, Difference what, Func<CancellationToken, Task<Difference>> act) => _steps.Add(new ApplyStep(phase, what, act));

    private void Refuse(DeclaredVolume volume, string? key, string problem) =>
        _problems.Add(key is null ? volume.At : volume.PlaceOf(key), KeyOf(volume, key), problem);

    private static string KeyOf(DeclaredVolume volume, string? key) =>
        key is null ? $"{DeclarationReader.VolumesKey}.{volume.Name}" : $"{DeclarationReader.VolumesKey}.{volume.Name}.{key}";
}
