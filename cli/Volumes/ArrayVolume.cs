using Microsoft.Extensions.Logging;
using Polyblk.Cli.Output;
using Polyblk.Cli.State;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives;
using Polyblk.Raid;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Cli.Volumes;

/// <summary>An array on its drives.</summary>
internal sealed class ArrayVolume : OpenVolume
{
    /// <summary>
    /// Longer than consumers of a target that was killed take to connect again and to have their requests answered.
    /// </summary>
    private static readonly TimeSpan s_resyncAfter = TimeSpan.FromSeconds(2);

    private readonly List<IBlockDevice> _drives;
    private readonly RaidArray _array;

    private ArrayVolume(List<IBlockDevice> drives, RaidArray array, IReadOnlyList<string> notes)
    {
        _drives = drives;
        _array = array;
        Notes = notes;
    }

    public override IBlockDevice Device => _array;

    public override IReadOnlyList<string> Notes { get; }

    /// <summary>Assembles the array; a volatile one is made afresh.</summary>
    /// <exception cref="CliException">It cannot start; the message says why and what to do.</exception>
    public static async Task<OpenVolume> OpenAsync(
        VolumeRecord record, ReactorGroup reactors, VolumeStart start, ILoggerFactory logging, CancellationToken cancellation)
    {
        ILogger log = logging.CreateLogger("polyblk.raid");
        var run = new ArrayRunOptions { ResyncAfter = s_resyncAfter, OnEvent = e => log.Log(LevelOf(e.Level), "{Event}", e.Message) };
        Reactor home = reactors.Reactors[0];
        IReadOnlyList<DriveSpec> specs = DriveList.Parse(record.Drives);
        var notes = new List<string>();
        List<IBlockDevice> drives = record.Volatile
            ? await DriveList.OpenAllAsync(specs, readOnly: false).ConfigureAwait(false)
            : await DriveList.OpenMembersAsync(specs, start.ReadOnly, e => notes.Add($"A drive is left out: {e.Message}"))
                .ConfigureAwait(false);
        try
        {
            cancellation.ThrowIfCancellationRequested();
            RaidArray array = record.Volatile
                ? await CreateVolatileAsync(record, drives, home, run).ConfigureAwait(false)
                : await ArrayBuilder.AssembleAsync(Options(record, start, run), drives, home).ConfigureAwait(false);
            if (record.Volatile)
            {
                notes.Add(VolumeOpener.VolatileNote(record.Drives));
            }

            if (array.Geometry.Level.Name() != record.Level)
            {
                notes.Add($"The record says {record.Level}, the superblocks say {array.Geometry.Level.Name()}, which counts.");
            }

            notes.AddRange(array.GetStatus().Warnings);
            return new ArrayVolume(drives, array, notes);
        }
        catch (ArrayException e)
        {
            await DriveList.CloseAllAsync(drives).ConfigureAwait(false);
            throw new CliException(ExitCode.Refused, string.Join('\n', [e.Message, .. notes]), e);
        }
        catch
        {
            await DriveList.CloseAllAsync(drives).ConfigureAwait(false);
            throw;
        }
    }

    public override IReadOnlyList<UnfinishedJson> GetHanging() =>
    [
        .. _array.GetStatus().Members.Where(m => m.IsHanging)
            .Select(m => new UnfinishedJson(m.Role, m.Name, m.RequestsInFlight, m.OldestRequestSeconds)),
    ];

    public override ArrayJson? GetArray() => ToJson(_array.GetStatus());

    public override async Task ResizeAsync(long? sizeBytes, CancellationToken cancellation)
    {
        try
        {
            await _array.ResizeAsync(sizeBytes ?? _array.GetStatus().CapacityBytes & ~4095L).ConfigureAwait(false);
        }
        catch (ArrayException e)
        {
            throw new CliException(ExitCode.Refused, e.Message, e);
        }
    }

    public override async Task AcknowledgeDamageAsync()
    {
        try
        {
            await _array.AcknowledgeDamageAsync().ConfigureAwait(false);
        }
        catch (ArrayException e)
        {
            throw new CliException(ExitCode.Refused, e.Message, e);
        }
    }

    public override async ValueTask DisposeAsync()
    {
        await _array.DisposeAsync().ConfigureAwait(false);
        await DriveList.CloseAllAsync(_drives).ConfigureAwait(false);
    }

    private static ArrayAssembleOptions Options(VolumeRecord record, VolumeStart start, ArrayRunOptions run) => new()
    {
        Uuid = record.Uuid,
        ReadOnly = start.ReadOnly,
        AllowDegraded = start.AllowDegraded,
        Force = start.Force,
        LogicalBlockSize = start.BlockSize,
        Run = run,

        // The drives of a record are in the order of their roles; of an array that was imported while some were missing they are
        // fewer.
        DescribeRole = (role, count) => record.Drives.Count == count ? record.Drives[role] : null,
    };

    private static Task<RaidArray> CreateVolatileAsync(VolumeRecord record, List<IBlockDevice> drives, Reactor home, ArrayRunOptions run) =>
        ArrayBuilder.CreateAsync(
            VolumeMaker.CreateOptions(record.Name, record.Level, record.ChunkBytes) with
            {
                SizeBytes = record.SizeBytes,
                AssumeZeroed = true,
                Run = run,
            },
            drives,
            home);

    internal static ArrayJson ToJson(ArrayStatus status) => new()
    {
        State = status.Health switch
        {
            ArrayHealth.Optimal => "optimal",
            ArrayHealth.Resyncing => status.Resync is { IsLeft: true } ? "dirty" : "resyncing",
            ArrayHealth.Degraded => status.Resync is { IsLeft: true } ? "degraded, dirty" : "degraded",
            _ => "failed",
        },
        ResyncProgress = status.Resync is { IsLeft: false } resync ? resync.Percent / 100 : null,
        ResyncIsLeft = status.Resync is { IsLeft: true },
        RangesInDoubt = status.RangesInDoubt,
        Warnings = status.Warnings,
        Members =
        [
            .. status.Members.Select(m => new MemberJson(m.Role, m.Name.Length == 0 ? null : m.Name, StateName(m.State))
            {
                ReadErrors = m.ReadErrors,
                WriteErrors = m.WriteErrors,
                Repairs = m.Repairs,
                OldestRequestSeconds = m.OldestRequestSeconds,
            }),
        ],
    };

    private static string StateName(MemberState state) => state switch
    {
        MemberState.Present => "present",
        MemberState.Failed => "failed",
        _ => "missing",
    };

    private static LogLevel LevelOf(ArrayEventLevel level) => level switch
    {
        ArrayEventLevel.Information => LogLevel.Information,
        ArrayEventLevel.Warning => LogLevel.Warning,
        _ => LogLevel.Error,
    };
}
