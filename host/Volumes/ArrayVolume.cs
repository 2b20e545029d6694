using Microsoft.Extensions.Logging;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Raid;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Host.Volumes;

/// <summary>An array on its drives.</summary>
public sealed partial class ArrayVolume : OpenVolume
{
    private readonly VolumeRecord _record;
    private readonly VolumeStart _start;
    private readonly RaidArray _array;
    private readonly EventTeller _events;
    private string _seen = string.Empty;

    private ArrayVolume(
        VolumeRecord record,
        VolumeStart start,
        List<VolumeDrive> drives,
        RaidArray array,
        IReadOnlyList<string> notes,
        EventTeller events)
    {
        _events = events;
        _record = record;
        _start = start;
        _drives = drives;
        _array = array;
        Notes = notes;
        _seen = DescribeMembers();
    }

    public override IBlockDevice Device => _array;

    public override IReadOnlyList<string> Notes { get; }

    /// <summary>
    /// Assembles the array; a volatile one is made afresh. Where a member is missing that the superblocks call present, its drive
    /// may only be late: it is waited for as long as <paramref name="start"/> says, before anything starts without it.
    /// </summary>
    /// <exception cref="RefusalException">It cannot start; the message says why and what to do.</exception>
    public static async Task<OpenVolume> OpenAsync(
        VolumeRecord record, ReactorGroup reactors, VolumeStart start, ILoggerFactory logging, CancellationToken cancellation)
    {
        var late = new LateDrives(record, start, logging.CreateLogger("polyblk.raid"));
        while (!record.Volatile && late.AreWaitedFor)
        {
            try
            {
                OpenVolume opened = await TryOpenAsync(record, reactors, start with { AllowDegraded = false, Force = false }, logging, cancellation)
                    .ConfigureAwait(false);
                late.End();
                return opened;
            }
            catch (RefusalException e) when (e.Kind == RefusalKind.Refused)
            {
                await late.WaitAsync(cancellation).ConfigureAwait(false);
            }
        }

        late.End();
        return await TryOpenAsync(record, reactors, start, logging, cancellation).ConfigureAwait(false);
    }

    private static async Task<OpenVolume> TryOpenAsync(
        VolumeRecord record, ReactorGroup reactors, VolumeStart start, ILoggerFactory logging, CancellationToken cancellation)
    {
        ILogger log = logging.CreateLogger("polyblk.raid");
        EventTeller events = start.Events ?? new EventTeller(record.Name, null, log);
        ArrayVolume? made = null;
        var run = new ArrayRunOptions
        {
            Resync = start.RunsJobs,
            RebuildByItself = start.RebuildsByItself,
            ResyncAfter = start.JobsAfter,
            ResyncMaxBytesPerSecond = record.MaxRebuildBytesPerSecond ?? 0,
            CheckEvery = record.CheckEvery,
            SlowAfter = record.SlowRead,
            DriveTimeout = record.DriveTimeout,
            HostName = Environment.MachineName,
            OnReleased = drive => Volatile.Read(ref made)?.Release(drive),
            OnEvent = e =>
            {
                events.Tell(e);
                Volatile.Read(ref made)?.LookAtMembers();
            },
        };
        Reactor home = reactors.Reactors[0];
        var notes = new List<string>();
        List<VolumeDrive> drives = record.Volatile
            ? await OpenVolatileAsync(record).ConfigureAwait(false)
            : DriveList.OpenMembers(record.Drives, start.ReadOnly);
        IBlockDevice[] devices = [.. drives.Select(d => d.Device).OfType<IBlockDevice>()];
        events.KnowSoon(devices.Select(d => d.Name));
        try
        {
            notes.AddRange(drives.Where(d => d.Device is null).Select(d => $"A drive is left out: {d.Problem}"));
            await RefuseWithoutNeededAsync(record, drives, home).ConfigureAwait(false);
            cancellation.ThrowIfCancellationRequested();
            RaidArray array = record.Volatile
                ? await CreateVolatileAsync(record, devices, home, run).ConfigureAwait(false)
                : await ArrayBuilder.AssembleAsync(Options(record, start, run), devices, home).ConfigureAwait(false);
            if (record.Volatile)
            {
                notes.Add(VolumeOpener.VolatileNote(record.Drives));
            }

            if (array.Geometry.Level.Name() != record.Level)
            {
                notes.Add($"The record says {record.Level}, the superblocks say {array.Geometry.Level.Name()}, which counts.");
            }

            notes.AddRange(array.GetStatus().Warnings);
            var volume = new ArrayVolume(record, start, drives, array, notes, events);
            Volatile.Write(ref made, volume);
            return volume;
        }
        catch (ArrayException e)
        {
            await DriveList.CloseAllAsync(devices).ConfigureAwait(false);
            throw new RefusalException(RefusalKind.Refused, string.Join('\n', [e.Message, .. notes]), e);
        }
        catch
        {
            await DriveList.CloseAllAsync(devices).ConfigureAwait(false);
            throw;
        }
    }

    public override IReadOnlyList<UnfinishedJson> GetHanging() =>
    [
        .. _array.GetStatus().Members.Where(m => m.IsHanging)
            .Select(m => new UnfinishedJson(m.Role, m.Name, m.RequestsInFlight, m.OldestRequestSeconds)),
    ];

    public override ArrayJson? GetArray()
    {
        ArrayStatus status = _array.GetStatus();
        ArrayJson array = ArrayStatusJson.Of(status);
        if (array.Replacement is not null)
        {
            _replacement = array.Replacement;
        }

        return array with
        {
            Members = [.. array.Members.Select(Identify)],

            // Over when the drive that goes has left the record, too.
            Replacement = array.Replacement ?? (_releasing.IsCompleted ? null : _replacement),
            MaxRebuildBytesPerSecond = _array.MaxJobBytesPerSecond is > 0 and long most ? most : null,
            CheckEverySeconds = (long)_array.CheckEvery.TotalSeconds,
            SlowReadSeconds = (int)_array.SlowAfter.TotalSeconds,
            DriveTimeoutSeconds = (int)_array.DriveTimeout.TotalSeconds,
            OtherDrives =
            [
                .. _drives.Where(d => !IsInArray(status, d)).Select(d =>
                    d.Problem is string problem ? OtherDriveJson.LeftOut(d.Text, problem)
                    : RoleOf(status, d) is int role ? OtherDriveJson.LeftOut(d.Text, $"its data is stale (member {role})")
                    : OtherDriveJson.NotUsed(d.Text)),
            ],
        };
    }

    public override Task ResizeAsync(long? sizeBytes, CancellationToken cancellation) =>
        RefusingAsync(() => _array.ResizeAsync(sizeBytes ?? _array.GetStatus().CapacityBytes & ~4095L));

    public override Task AcknowledgeDamageAsync() => RefusingAsync(_array.AcknowledgeDamageAsync);

    public override Task SetConsistencyAsync(ArrayConsistency consistency) => RefusingAsync(() => _array.SetConsistencyAsync(consistency));

    public override void CheckEvery(TimeSpan every) => _array.CheckEvery = every;

    public override void BePatient(Patience patience)
    {
        _array.SlowAfter = patience.SlowRead is int slow ? TimeSpan.FromSeconds(slow) : _array.SlowAfter;
        _array.DriveTimeout = patience.DriveTimeout is int most ? TimeSpan.FromSeconds(most) : _array.DriveTimeout;
    }

    public override Task StartCheckAsync(bool repair) => RefusingAsync(() => _array.StartScrubAsync(repair));

    public override Task StopCheckAsync() => RefusingAsync(_array.StopScrubAsync);

    public override void LimitRebuild(long bytesPerSecond) => _array.MaxJobBytesPerSecond = bytesPerSecond;

    /// <summary>What the array refuses is a refusal of the command.</summary>
    private static async Task RefusingAsync(Func<Task> change)
    {
        try
        {
            await change().ConfigureAwait(false);
        }
        catch (ArrayException e)
        {
            throw new RefusalException(RefusalKind.Refused, e.Message, e);
        }
    }

    public override async ValueTask DisposeAsync()
    {
        await _array.DisposeAsync().ConfigureAwait(false);
        await _releasing.ConfigureAwait(false);
        await DriveList.CloseAllAsync(_drives.Select(d => d.Device).OfType<IBlockDevice>()).ConfigureAwait(false);
    }

    private static ArrayAssembleOptions Options(VolumeRecord record, VolumeStart start, ArrayRunOptions run) => new()
    {
        Uuid = record.Uuid,
        ReadOnly = start.ReadOnly,
        AllowDegraded = start.AllowDegraded,
        Force = start.Force,
        LogicalBlockSize = start.BlockSize,
        Run = run,
        DescribeRole = (role, count) => MemberMemory.DriveOf(record, role, count),
    };

    private static async Task<List<VolumeDrive>> OpenVolatileAsync(VolumeRecord record)
    {
        IReadOnlyList<DriveSpec> specs = DriveList.Parse(record.Drives);
        List<IBlockDevice> devices = await DriveList.OpenAllAsync(specs, readOnly: false).ConfigureAwait(false);
        return [.. specs.Zip(devices, (spec, device) => new VolumeDrive(spec, device))];
    }

    /// <summary>
    /// A drive that is there and cannot be had keeps an array from starting when it may be a member that is in step: an array
    /// that starts without it would drop it as stale. The drive of a member that has failed, or was replaced, does not.
    /// </summary>
    private static async Task RefuseWithoutNeededAsync(VolumeRecord record, List<VolumeDrive> drives, Reactor home)
    {
        if (drives.Select(d => d.Refusal).FirstOrDefault(r => r is not null) is not RefusalException refusal)
        {
            return;
        }

        IBlockDevice[] devices = [.. drives.Select(d => d.Device).OfType<IBlockDevice>()];
        IReadOnlyList<DriveInspection> found = await ArrayBuilder.InspectAsync(devices, home).ConfigureAwait(false);
        AssemblyCandidate[] members =
        [
            .. found.Where(f => f.Superblock?.ArrayUuid == record.Uuid)
                .Select(f => new AssemblyCandidate(f.Drive.Name, f.Drive.SizeBytes, f.Superblock!)),
        ];
        AssemblyResult result = ArrayAssembly.Assemble(members);
        bool isNeeded = result.Newest is not { } newest || result.Outcome == AssemblyOutcome.Refused
            || newest.Members.Where((m, role) =>
                ((result.MissingRoles >> role) & 1) != 0 && m.State is MemberState.Present or MemberState.Rebuilding).Any();
        if (isNeeded)
        {
            throw refusal;
        }
    }

    private static Task<RaidArray> CreateVolatileAsync(
        VolumeRecord record, IReadOnlyList<IBlockDevice> drives, Reactor home, ArrayRunOptions run)
    {
        ArrayCreateOptions options = VolumeMaker.CreateOptions(record.Name, record.Level, record.ChunkBytes);
        options = options with
        {
            Groups = record.Groups,
            SizeBytes = record.SizeBytes,
            AssumeZeroed = true,
            Consistency = VolumeMaker.ForVolatile(options.Level),
            Run = run,
        };
        return ArrayBuilder.CreateAsync(options, drives, home);
    }

    /// <summary>Something happened to the array: its members may be others.</summary>
    private void LookAtMembers()
    {
        string now = DescribeMembers();
        if (Interlocked.Exchange(ref _seen, now) != now)
        {
            _events.KnowSoon(now.Split('\n', StringSplitOptions.RemoveEmptyEntries));
            RaiseMembersChanged();
        }
    }

    private MemberJson Identify(MemberJson member) =>
        _events.IdentityOf(member.Drive) is not DriveJson drive ? member
            : member with { Serial = drive.Serial, Slot = drive.Slot };

    private string DescribeMembers()
    {
        ArrayStatus status = _array.GetStatus();
        return string.Join('\n', status.Members.Select(m => m.Name).Concat(status.Spares));
    }
}
