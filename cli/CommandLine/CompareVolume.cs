// polyblk compare VOLUME: the user's own volume as the subject.
//
// The comparison holds the volume's lock from the beginning to the end, so that nobody else serves it. Its servers run with a
// state directory of the comparison, into which the record is copied: what frontends keep there for a recovery never meets what
// they keep for the volume's ordinary use.

using System.Globalization;
using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Cli.Output;
using Polyblk.Compare.Load;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Running;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.CommandLine;

/// <summary>The volume of a comparison, locked.</summary>
internal sealed class CompareVolume : IDisposable
{
    private const string Present = "present";

    private readonly VolumeLock _lock;

    private CompareVolume(VolumeLock held, ComparedVolume volume, VolumeRecord record, IReadOnlyList<string> notes) =>
        (_lock, Volume, Record, Notes) = (held, volume, record, notes);

    public ComparedVolume Volume { get; }

    public VolumeRecord Record { get; }

    /// <summary>What the reader of the report should know of it.</summary>
    public IReadOnlyList<string> Notes { get; }

    /// <summary>Locks it, looks at its drives and, unless its data may be destroyed, takes a sample of what it holds.</summary>
    /// <exception cref="RefusalException">There is no such volume, it is in use, or it cannot start; the message says what to
    /// do.</exception>
    public static async Task<CompareVolume> OpenAsync(StateDirectories directories, string name, bool destroyData, Action<string> warn, CancellationToken cancellation)
    {
        VolumeLock held = VolumeLock.TakeRecorded(directories, name, "compared", out VolumeRecord record);
        try
        {
            RecordedVolume volume = await LookAsync(record, destroyData, warn, cancellation).ConfigureAwait(false);
            if (!volume.MayBeOverwritten)
            {
                volume = volume.Keeping(await SampleAsync(volume, cancellation).ConfigureAwait(false));
            }

            return new CompareVolume(held, volume, record, [.. NotesOf(volume)]);
        }
        catch (MethodException e)
        {
            held.Dispose();
            throw new RefusalException(RefusalKind.Refused, e.Message, e);
        }
        catch
        {
            held.Dispose();
            throw;
        }
    }

    public void Dispose() => _lock.Dispose();

    private static async Task<RecordedVolume> LookAsync(VolumeRecord record, bool destroyData, Action<string> warn, CancellationToken cancellation)
    {
        var volume = new RecordedVolume(record)
        {
            Name = record.Name,
            Level = record.Level,
            SizeBytes = record.SizeBytes,
            Members = record.Drives.Count,
            Drives = record.Drives,
            IsVolatile = record.Volatile,
            IsInMemory = record.Volatile || DriveList.Parse(record.Drives).Any(d => IsInMemory(d.Path)),
            MayBeOverwritten = destroyData || record.Volatile,
        };
        if (record.Volatile)
        {
            return volume;
        }

        if (record.Level == VolumeOpener.NoLevel)
        {
            List<IBlockDevice> open = await DriveList.OpenAllAsync(DriveList.Parse(record.Drives), readOnly: true).ConfigureAwait(false);
            long sizeBytes = open[0].SizeBytes;
            await DriveList.CloseAllAsync(open).ConfigureAwait(false);
            return volume.With(sizeBytes, record.Drives, isDegraded: false, isDirty: false);
        }

        VolumeJson array = (await ArrayScanner.ScanAsync(record.Drives, warn, cancellation).ConfigureAwait(false)).FirstOrDefault(a => a.Uuid == record.Uuid)
            ?? throw RefusalException.NotFound($"None of the drives of volume '{record.Name}' holds its array: {string.Join(", ", record.Drives)}. See 'polyblk volume show {record.Name}'.");
        ArrayJson found = array.Array!;
        bool isDirty = found.ResyncIsLeft || found.Resync is not null;
        if (found.Health == Health.Failed || (found.Health is Health.Degraded or Health.Rebuilding && isDirty))
        {
            throw RefusalException.Refused(
                $"Volume '{record.Name}' cannot be compared: it is {found.Health.Word()}. {found.Problem ?? $"Serve it once with 'polyblk serve {record.Name} --force-assembly ...', and look at its data."}");
        }

        HashSet<string> there = [.. found.Members.Where(m => m is { State: Present, Drive: not null }).Select(m => DriveList.RealPath(m.Drive!))];
        string[] drives = [.. record.Drives.Where(d => there.Contains(DriveList.RealPath(DriveSpec.Parse(d).Path)))];
        return volume.With(array.SizeBytes ?? record.SizeBytes, drives, found.Health == Health.Degraded, isDirty);
    }

    private static async Task<KeptContent> SampleAsync(RecordedVolume volume, CancellationToken cancellation)
    {
        await using IOpenArray open = await volume.OpenAsync(cancellation).ConfigureAwait(false);
        return await KeptReader.TakeAsync(
            open.Device, volume.SpanBytes, $"it would overwrite the volume '{volume.Name}'; polyblk compare {volume.Name} --destroy-data measures it", cancellation).ConfigureAwait(false);
    }

    private static IEnumerable<string> NotesOf(RecordedVolume volume)
    {
        yield return "One process at a time works on the drives of a volume: its servers took turns, each once in every round.";
        if (volume.Kept is not null)
        {
            yield return $"The volume '{volume.Name}' was only read, and nothing was written to its drives, their superblocks included. Workloads that write were left out, and no target was killed under load, since that test writes. "
                + $"polyblk compare {volume.Name} --destroy-data does both; everything on the volume is lost then.";
        }
        else if (!volume.IsVolatile)
        {
            yield return $"What the volume '{volume.Name}' held was overwritten (--destroy-data).";
        }

        if (volume.IsDegraded)
        {
            yield return string.Create(
                CultureInfo.InvariantCulture,
                $"The volume is degraded: {volume.Drives.Count} of {volume.Members} members are there. What the missing ones held is computed or read from the others, and the theory behind RAID efficiency counts them all.");
        }

        if (volume.IsDirty)
        {
            yield return volume.Kept is not null
                ? "The array had not been stopped cleanly, and stays like that: bringing it into step (resync) would write."
                : "The array had not been stopped cleanly: while it was measured it was brought into step (resync) in the "
                    + "background, which takes a share of the drives.";
        }
    }

    private static bool IsInMemory(string path) =>
        (!path.StartsWith("/dev/", StringComparison.Ordinal) || path.StartsWith("/dev/shm/", StringComparison.Ordinal))
        && File.Exists(path) && new DriveInfo(path).DriveFormat is "tmpfs" or "ramfs";

    /// <summary>A volume that has a record.</summary>
    private sealed class RecordedVolume(VolumeRecord record) : ComparedVolume
    {
        /// <summary>Whether a resync is due.</summary>
        public bool IsDirty { get; private init; }

        public RecordedVolume With(long sizeBytes, IReadOnlyList<string> drives, bool isDegraded, bool isDirty) => new(record)
        {
            Name = Name,
            Level = Level,
            SizeBytes = sizeBytes,
            Members = Members,
            Drives = drives,
            IsInMemory = IsInMemory,
            IsDegraded = isDegraded,
            IsDirty = isDirty,
            MayBeOverwritten = MayBeOverwritten,
        };

        public RecordedVolume Keeping(KeptContent kept) => new(record)
        {
            Name = Name,
            Level = Level,
            SizeBytes = SizeBytes,
            Members = Members,
            Drives = Drives,
            IsInMemory = IsInMemory,
            IsDegraded = IsDegraded,
            IsDirty = IsDirty,
            Kept = kept,
        };

        public override void Record(string stateDirectory, string name) =>
            new VolumeStore(StateDirectories.Resolve(stateDirectory, Environment.IsPrivilegedProcess, Environment.GetEnvironmentVariable)).Put(record with { Name = name });

        public override async Task<IOpenArray> OpenAsync(CancellationToken cancellation)
        {
            var reactors = new ReactorGroup([new ReactorOptions { Name = "array-home", Idle = IdlePolicy.Frugal }]);

            // A comparison that was not told to destroy data reads, and nothing else; then nobody is harmed when a member is
            // absent.
            var start = new VolumeStart { ReadOnly = !MayBeOverwritten, AllowDegraded = IsDegraded };
            try
            {
                OpenVolume opened = await VolumeOpener
                    .OpenAsync(record, reactors, start, NullLoggerFactory.Instance, cancellation).ConfigureAwait(false);
                return new Open(opened, reactors);
            }
            catch (Exception e)
            {
                reactors.Dispose();
                throw e is RefusalException ? new MethodException(e.Message, e) : e;
            }
        }
    }

    private sealed class Open(OpenVolume volume, ReactorGroup reactors) : IOpenArray
    {
        public IBlockDevice Device => volume.Device;

        public async ValueTask DisposeAsync()
        {
            await volume.DisposeAsync().ConfigureAwait(false);
            reactors.Dispose();
        }
    }
}
