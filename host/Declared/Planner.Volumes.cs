// Volumes: what is made, what is changed in place, and what is refused.

using System.Globalization;
using Polyblk.Core.Block;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;
using Polyblk.Raid;
using Polyblk.Raid.Layout;

namespace Polyblk.Host.Declared;

public sealed partial class Planner
{
    private async Task PlanNewAsync(DeclaredVolume volume, CancellationToken cancellation)
    {
        if (volume.Level is null || volume.Drives is null)
        {
            Refuse(volume, null, $"there is no such volume, and to make it '{Keys.Level}' and '{Keys.Drives}' must be said.");
            return;
        }

        try
        {
            VolumeRequest request = VolumeCreation.Check(new VolumeWish(volume.Name, volume.Level, volume.Drives)
            {
                Groups = volume.Groups,
                ChunkBytes = volume.ChunkBytes,
                SizeBytes = volume.SizeBytes,
                Consistency = volume.Consistency,
                Checksums = volume.Checksums ?? false,
            });
            if (request.Level is null && SetsArray(volume))
            {
                throw RefusalException.Invalid($"level none is one drive as it is: {NothingToCompare}");
            }

            if (volume.CheckEverySeconds > 0 && request.Drives[0].IsVolatile)
            {
                throw RefusalException.Invalid(
                    $"'{Keys.CheckEvery}': a volatile volume begins empty each time, and is never compared.");
            }

            if (volume.Spares is { Count: > 0 } && (request.Level is null || request.Drives[0].IsVolatile))
            {
                throw RefusalException.Invalid("only an array of drives that last has spares.");
            }

            await VolumeMaker.CheckAsync(request, cancellation).ConfigureAwait(false);
            string what = string.Create(CultureInfo.InvariantCulture, $"{volume.Level}, {request.Drives.Count} drive(s)");
            Add(ApplyPhase.Volume, new Difference(DifferenceKind.Create, volume.Name) { To = what }, async c =>
            {
                VolumeRecord made = await VolumeCreation
                    .CreateAsync(
                        _directories, request, record => WithKept(record, volume), _options.Note, _options.Warn, Teller, c)
                    .ConfigureAwait(false);
                string size = ByteSize.FormatRounded(made.SizeBytes);
                return new Difference(DifferenceKind.Create, made.Name) { To = $"{what}, {size}" };
            });
            foreach (string spare in volume.Spares ?? [])
            {
                await PlanSpareAsync(volume, spare).ConfigureAwait(false);
            }
        }
        catch (Exception e) when (Refusals.Of(e) is Refusal refusal)
        {
            // What lies on a drive, not who uses it.
            string more = refusal.Kind != RefusalKind.Refused || e.GetBaseException() is not ArrayException ? string.Empty
                : " Apply overwrites nothing: 'polyblk volume create' does, when it is told to.";
            Refuse(volume, null, refusal.Message + more);
        }
    }

    /// <summary>Whether it says what only an array can heed.</summary>
    private static bool SetsArray(DeclaredVolume volume) =>
        (volume.MaxRebuildBytesPerSecond ?? volume.CheckEverySeconds) is not null || volume.Patience.SaysSomething;

    private static VolumeRecord WithKept(VolumeRecord record, DeclaredVolume volume)
    {
        record = volume.MaxRebuildBytesPerSecond is long rate ? record.WithRebuildLimit(rate) : record;
        record = volume.CheckEverySeconds is long seconds ? record with { CheckEverySeconds = seconds } : record;
        record = record.With(volume.Patience);
        record = volume.Isolate is bool isolate ? record.WithIsolate(isolate) : record;
        record = volume.SpareGroup is string group and not VolumeSettings.NoSpareGroup ? record.WithSpareGroup(group) : record;
        return volume.Autostart is bool starts ? record.WithAutostart(starts) : record;
    }

    /// <summary>What a volume has from its making on.</summary>
    private void RefuseOtherShape(DeclaredVolume volume, VolumeRecord record)
    {
        if (volume.Level is string level && VolumeCreation.LevelName(level) != record.Level)
        {
            bool mayChange = HasParity(record.Level) && HasParity(VolumeCreation.LevelName(level));
            Refuse(volume, Keys.Level, $"volume '{record.Name}' is {record.Level}" + (mayChange
                ? $": 'polyblk volume reshape {record.Name} --level {level}' changes that, with '--add' for drives that it needs."
                : ", and stays that: make another one, and copy."));
        }
        else if (volume.Level is string shape && RaidLevels.TryParseShape(shape, out _, out int wanted)
            && record.Members is { } members && members.Count != wanted)
        {
            string has = string.Create(CultureInfo.InvariantCulture, $"volume '{record.Name}' has {members.Count} members");
            Refuse(
                volume, Keys.Level,
                $"{has}, and {shape} is {wanted}: drives are added by 'polyblk volume reshape', where the level allows it.");
        }

        int? groups = volume.Groups
            ?? (volume.Level is string word && RaidLevels.TryParseShape(word, out RaidLevel its, out _, out int said)
                && its.HasGroups() ? said : null);
        if (groups is not null && groups != record.Groups)
        {
            string has = record.Groups is int number ? $"{number} groups" : "no groups";
            Refuse(
                volume, volume.Groups is null ? Keys.Level : Keys.Groups,
                $"volume '{record.Name}' has {has}, and keeps that: make another one, and copy.");
        }

        if (volume.ChunkBytes is long chunk && chunk != record.ChunkBytes)
        {
            string has = record.ChunkBytes == 0 ? "no chunk" : $"chunks of {ByteSize.Format(record.ChunkBytes)}";
            Refuse(volume, Keys.Chunk, $"volume '{record.Name}' has {has}, and keeps that: make another one, and copy.");
        }

        if (volume.SizeBytes is long size && size != record.SizeBytes)
        {
            Refuse(volume, Keys.Size, $"volume '{record.Name}' has {ByteSize.Format(record.SizeBytes)}. "
                + $"'polyblk volume resize {record.Name} --size {ByteSize.Format(size)}' changes that.");
        }
    }

    private Action<EventJson> Teller => new EventStore(_directories).Teller(_options.Warn);

    /// <summary>Whether a level is one of those that are reshaped into each other.</summary>
    private static bool HasParity(string level) =>
        RaidLevels.TryParse(level, out RaidLevel its) && its.ParityCount() > 0 && !its.HasGroups();

    private void PlanKept(DeclaredVolume volume, VolumeRecord record)
    {
        var settings = new VolumeSettings(_directories, record.Name, Teller);
        if (record.Level == VolumeOpener.NoLevel && SetsArray(volume))
        {
            Refuse(volume, null, $"volume '{record.Name}' is one drive as it is (level none): {NothingToCompare}");
            return;
        }

        if (volume.MaxRebuildBytesPerSecond is long rate && rate != (record.MaxRebuildBytesPerSecond ?? 0))
        {
            string has = DeclarationWriter.Rate(record.MaxRebuildBytesPerSecond);
            Change(Keys.RebuildRate, has, DeclarationWriter.Rate(rate), c => settings.LimitRebuildAsync(rate, c));
        }

        if (volume.CheckEverySeconds is long seconds && seconds != (long)record.CheckEvery.TotalSeconds)
        {
            if (record.Volatile)
            {
                Refuse(
                    volume, Keys.CheckEvery,
                        $"volume '{record.Name}' is volatile: it begins empty each time, and is never compared.");
                return;
            }

            string wanted = Duration.Format(TimeSpan.FromSeconds(seconds));
            Change(Keys.CheckEvery, Duration.Format(record.CheckEvery), wanted, c => settings.CheckEveryAsync(seconds, c));
        }

        PlanSeconds(Keys.SlowRead, volume.Patience.SlowRead, record.SlowRead, wanted => new Patience(wanted, null));
        PlanSeconds(Keys.DriveTimeout, volume.Patience.DriveTimeout, record.DriveTimeout, wanted => new Patience(null, wanted));
        PlanSwitch(Keys.Autostart, volume.Autostart, record.Autostart ?? true, settings.SetAutostart);
        PlanSwitch(Keys.Isolate, volume.Isolate, record.Isolate ?? false, settings.SetIsolate);
        if (volume.SpareGroup is string group && group != (record.SpareGroup ?? VolumeSettings.NoSpareGroup))
        {
            Change(Keys.SpareGroup, record.SpareGroup ?? VolumeSettings.NoSpareGroup, group, c =>
            {
                c.ThrowIfCancellationRequested();
                _ = settings.SetSpareGroup(group);
                return Task.CompletedTask;
            });
        }

        void PlanSeconds(string key, int? wanted, TimeSpan has, Func<int, Patience> patience)
        {
            if (wanted is int value && value != (int)has.TotalSeconds)
            {
                string from = has.TotalSeconds.ToString(CultureInfo.InvariantCulture);
                Change(key, from, value.ToString(CultureInfo.InvariantCulture), c => settings.BePatientAsync(patience(value), c));
            }
        }

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

    /// <summary>Whether it has them is decided when it is made.</summary>
    private async Task PlanChecksumsAsync(DeclaredVolume volume, VolumeRecord record, CancellationToken cancellation)
    {
        if (volume.Checksums is not bool wanted)
        {
            return;
        }

        VolumeJson now = await VolumeView.FullAsync(_directories, record, _ => { }, cancellation).ConfigureAwait(false);
        if ((now.Array?.Checksums ?? false) != wanted)
        {
            Refuse(
                volume, Keys.Checksums,
                $"volume '{record.Name}' was made {(wanted ? "without" : "with")} checksums, or its drives cannot be "
                + "read. That cannot be changed: make another volume and copy it.");
        }
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
            Refuse(
                volume, Keys.Consistency,
                    $"volume '{record.Name}' has no members that could disagree, or its drives cannot be read.");
            return;
        }

        if (has == wanted)
        {
            return;
        }

        bool isServed = now.Live is not null || (_daemon is not null && volume.Exports is { Count: > 0 });
        if (!isServed)
        {
            Refuse(
                volume,
                Keys.Consistency,
                $"volume '{record.Name}' has {has}. That is kept in its drives, and changed while it is served: "
                + $"start the daemon, or 'polyblk volume start {record.Name}'.");
            return;
        }

        var what = new Difference(DifferenceKind.Change, record.Name) { Key = Keys.Consistency, From = has, To = wanted };
        Add(ApplyPhase.Served, what, async c =>
        {
            await new VolumeSettings(_directories, record.Name, Teller).SetConsistencyAsync(wanted, c)
                .ConfigureAwait(false);
            return what;
        });
    }
}
