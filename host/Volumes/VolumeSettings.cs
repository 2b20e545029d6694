// How a volume behaves, now and at every start. What is kept in the record is changed by the process that serves the volume,
// which heeds it at once, or in the record alone where there is none; what is kept in the superblocks, by that process only.

using System.Globalization;
using Polyblk.Core.Block;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;

namespace Polyblk.Host.Volumes;

/// <summary>Changes settings of a volume.</summary>
/// <param name="directories">Where its record is.</param>
/// <param name="name">Its name.</param>
/// <param name="tell">Told what has changed.</param>
public sealed class VolumeSettings(StateDirectories directories, string name, Action<EventJson> tell)
{
    /// <summary>Refuses a volume that has none of them.</summary>
    /// <exception cref="RefusalException">Nothing of it is ever rebuilt or compared.</exception>
    public static void RequireArray(VolumeRecord record)
    {
        ArgumentNullException.ThrowIfNull(record);
        if (record.Level == VolumeOpener.NoLevel)
        {
            throw RefusalException.Refused(
                $"Volume '{record.Name}' is one drive as it is (level none): nothing is ever rebuilt or compared.");
        }
    }

    /// <summary>Changes several, one after the other; none where one of them is out of its range.</summary>
    /// <exception cref="RefusalException">There is no such volume, or whoever serves it refuses one: those before have
    /// changed.</exception>
    /// <returns>All settings that are on record, as they are now; the consistency only where it was to change.</returns>
    public async Task<SettingsChange> ChangeAsync(SettingsChange change, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(change);
        change.Check();
        if (change.IsOfArray)
        {
            RequireArray(new VolumeStore(directories).Get(name));
        }

        if (change.Consistency is string consistency)
        {
            await SetConsistencyAsync(consistency, cancellation).ConfigureAwait(false);
        }

        if (change.MaxRebuildBytesPerSecond is long rate)
        {
            await LimitRebuildAsync(rate, cancellation).ConfigureAwait(false);
        }

        if (change.CheckEverySeconds is long seconds)
        {
            await CheckEveryAsync(seconds, cancellation).ConfigureAwait(false);
        }

        if (change.Patience is { SaysSomething: true } patience)
        {
            await BePatientAsync(patience, cancellation).ConfigureAwait(false);
        }

        if (change.SpareGroup is string group)
        {
            _ = SetSpareGroup(group);
        }

        if (change.Isolate is bool alone)
        {
            _ = SetIsolate(alone);
        }

        if (change.Autostart is bool starts)
        {
            _ = SetAutostart(starts);
        }

        return SettingsChange.Of(new VolumeStore(directories).Get(name)) with { Consistency = change.Consistency };
    }

    /// <summary>Changes how it is put right after an unclean stop.</summary>
    /// <param name="word">A word of <see cref="ConsistencyWord"/>.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <exception cref="RefusalException">It cannot have that, or nobody serves it.</exception>
    public async Task SetConsistencyAsync(string word, CancellationToken cancellation)
    {
        var request = new ControlRequest { Command = "set", Consistency = word };
        if (await ControlClient.AskAsync(directories, name, request, cancellation).ConfigureAwait(false) is null)
        {
            throw RefusalException.Refused(
                $"Volume '{name}' is not being served: --consistency is changed while it is. It is kept in the drives.");
        }

        Tell($"consistency {word}");
    }

    /// <summary>Bounds resync and rebuild.</summary>
    /// <param name="bytesPerSecond">Of every member; 0 sets no bound.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <exception cref="RefusalException">That is not possible.</exception>
    public Task LimitRebuildAsync(long bytesPerSecond, CancellationToken cancellation) => SetKeptAsync(
        new ControlRequest { Command = "set", MaxRebuildBytesPerSecond = bytesPerSecond },
        record => record.WithRebuildLimit(bytesPerSecond),
        $"rebuild-rate {(bytesPerSecond == 0 ? "0" : ByteSize.Format(bytesPerSecond))}",
        cancellation);

    /// <summary>Says after what time members are compared anew.</summary>
    /// <param name="seconds">The time; 0 is never.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <exception cref="RefusalException">That is not possible.</exception>
    public Task CheckEveryAsync(long seconds, CancellationToken cancellation) => SetKeptAsync(
        new ControlRequest { Command = "set", CheckEverySeconds = seconds },
        record => record with { CheckEverySeconds = seconds },
        $"check-every {Duration.Format(TimeSpan.FromSeconds(seconds))}",
        cancellation);

    /// <summary>Says how long members have to answer.</summary>
    /// <exception cref="RefusalException">That is not possible.</exception>
    public Task BePatientAsync(Patience patience, CancellationToken cancellation) => SetKeptAsync(
        new ControlRequest { Command = "set", SlowReadSeconds = patience.SlowRead, DriveTimeoutSeconds = patience.DriveTimeout },
        record => record.With(patience),
        string.Join(", ", new (string Option, int? Seconds)[]
        {
            ("slow-read", patience.SlowRead), ("drive-timeout", patience.DriveTimeout),
        }.Where(o => o.Seconds is not null).Select(o => string.Create(CultureInfo.InvariantCulture, $"{o.Option} {o.Seconds}"))),
        cancellation);

    /// <summary>Says whether the daemon serves it from its own start on.</summary>
    /// <exception cref="RefusalException">There is no such volume, or its record cannot be written.</exception>
    public VolumeRecord SetAutostart(bool starts) =>
        SetKept(record => record.WithAutostart(starts), $"autostart {OnOrOff(starts)}");

    /// <summary>Says whether the daemon serves it in a process of its own, from its next start on.</summary>
    /// <exception cref="RefusalException">There is no such volume, or its record cannot be written.</exception>
    public VolumeRecord SetIsolate(bool isolate) =>
        SetKept(record => record.WithIsolate(isolate), $"isolate {OnOrOff(isolate)}");

    /// <summary>The word for no group.</summary>
    public const string NoSpareGroup = "off";

    /// <summary>Reads the name of a spare group.</summary>
    /// <exception cref="RefusalException">It is none.</exception>
    public static string CheckSpareGroup(string group) => VolumeName.IsValid(group) ? group
        : throw RefusalException.Invalid(
            $"'{group}' cannot be the name of a spare group.", "It is made as a volume's name is; off is no group.");

    /// <summary>Says with which others the daemon has it share spares.</summary>
    /// <param name="group">Their group; <see cref="NoSpareGroup"/> for none.</param>
    /// <exception cref="RefusalException">There is no such volume, or its record cannot be written.</exception>
    public VolumeRecord SetSpareGroup(string group) =>
        SetKept(
            record => record.WithSpareGroup(group == NoSpareGroup ? null : CheckSpareGroup(group)), $"spare-group {group}");

    private VolumeRecord SetKept(Func<VolumeRecord, VolumeRecord> change, string setting)
    {
        VolumeRecord? before = null;
        VolumeRecord now = new VolumeStore(directories).Change(name, record => change(before = record));
        TellUnlessSame(before, now, setting);
        return now;
    }

    private async Task SetKeptAsync(
        ControlRequest request, Func<VolumeRecord, VolumeRecord> change, string setting, CancellationToken cancellation)
    {
        var store = new VolumeStore(directories);
        VolumeRecord before = store.Get(name);
        if (await ControlClient.AskAsync(directories, name, request, cancellation).ConfigureAwait(false) is null)
        {
            using VolumeLock held = VolumeLock.TakeRecorded(directories, name, "changed", out _);
            store.Change(name, change);
        }

        TellUnlessSame(before, store.Get(name), setting);
    }

    /// <summary>A setting that was given anew as it was is no event.</summary>
    private void TellUnlessSame(VolumeRecord? before, VolumeRecord now, string setting)
    {
        // Lists are no settings, and equal only to themselves.
        if (before is null || before with { Drives = now.Drives, Members = now.Members, Exports = now.Exports } != now)
        {
            Tell(setting);
        }
    }

    /// <summary>Whoever serves it has changed it for this command, and the command tells it.</summary>
    private void Tell(string setting) =>
        tell(new EventJson { Kind = EventKinds.VolumeChanged, Volume = name, Reason = setting });

    private static string OnOrOff(bool value) => value ? "on" : "off";
}
