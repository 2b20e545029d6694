// An array that gets another shape while it is open: further members, another level, or all that its drives have more now.

using Polyblk.Core.Block;
using Polyblk.Drives;
using Polyblk.Drives.Files;
using Polyblk.Host.State;
using Polyblk.Raid;
using Polyblk.Raid.Layout;

namespace Polyblk.Host.Volumes;

public sealed partial class ArrayVolume
{
    private async Task<MemberChangeResult> ReshapeAsync(MemberChange change, VolumeStore store)
    {
        DriveSpec[] specs = [.. change.MoreDrives.Prepend(change.Drive).Where(d => d.Length != 0).Select(ParseNew)];
        RaidGeometry before = _array.CurrentGeometry;
        RaidLevel level = LevelOf(change, specs.Length);
        foreach (DriveSpec spec in specs)
        {
            if (FindDrive(_array.GetStatus(), spec) is not null)
            {
                throw RefusalException.Refused($"{spec} belongs to volume '{Name}' already.");
            }

            RefuseGone(spec);
        }

        // Recorded first, all of them: whatever ends in between, a start finds them.
        var taken = new List<Taken>();
        try
        {
            foreach (DriveSpec spec in specs)
            {
                taken.Add(await TakeAsync(store, spec, known: null, after: null).ConfigureAwait(false));
            }

            await _array.ReshapeAsync(level, [.. taken.Select(t => t.Drive.Device!)], change.Force).ConfigureAwait(false);
        }
        catch (ArrayException e) when (e.HasBegun)
        {
            RecordLevel(store);
            throw;
        }
        catch
        {
            foreach (Taken one in taken.Where(t => !IsInArray(_array.GetStatus(), t.Drive)))
            {
                await LetGoAsync(store, one.Drive, one.IsFresh).ConfigureAwait(false);
            }

            throw;
        }

        RecordLevel(store);
        return new MemberChangeResult(Tell(before, _array.CurrentGeometry, _start.RunsJobs));
    }

    /// <summary>The level that a change wants.</summary>
    /// <exception cref="RefusalException">There is none, or its shape takes other drives than there will be.</exception>
    private RaidLevel LevelOf(MemberChange change, int added)
    {
        RaidGeometry geometry = _array.CurrentGeometry;
        if (change.Level is not string wish)
        {
            return geometry.Level;
        }

        if (!RaidLevels.TryParse(VolumeCreation.LevelName(wish), out RaidLevel level))
        {
            throw RefusalException.Refused($"Volume '{Name}' is {geometry.Level.Name()}, and cannot become one without a level.");
        }

        int members = geometry.MemberCount + added;
        return !RaidLevels.TryParseShape(wish, out _, out int wanted) || wanted == members ? level
            : throw RefusalException.Refused(
                $"{wish} takes {wanted} drives, and volume '{Name}' would have {members}: it has {geometry.MemberCount}, and "
                + $"{added} are added.");
    }

    /// <summary>The superblocks are what counts; the record follows them.</summary>
    private void RecordLevel(VolumeStore store)
    {
        string level = _array.CurrentGeometry.Level.Name();
        if (store.Get(Name).Level != level)
        {
            store.Change(Name, record => record with { Level = level });
        }
    }

    private string Tell(RaidGeometry before, RaidGeometry after, bool isNow)
    {
        int added = after.MemberCount - before.MemberCount;
        bool isOfLevel = after.Level != before.Level;
        string what = isOfLevel ? $"becomes {after.Level.Name()} over {after.MemberCount} drives"
            : $"gets {added} more {(added == 1 ? "drive" : "drives")}";
        string how = isOfLevel ? "moved to that shape" : "spread over all";
        string when = isNow ? $", and is being {how}." : $"; it is {how} when it is served next.";
        string grows = isNow && after.DataCount > before.DataCount ? " It grows when that is done." : string.Empty;
        int most = Math.Min(before.ParityCount, after.ParityCount);
        string until = isOfLevel ? $" Until that is done it survives the loss of {most} of its drives." : string.Empty;
        return $"Volume '{Name}' {what}{when}{grows}{until}";
    }

    private async Task<MemberChangeResult> GrowAsync(VolumeStore store)
    {
        try
        {
            foreach (FileDrive file in _drives.Select(d => d.Device).OfType<FileDrive>())
            {
                await file.RefreshSizeAsync().ConfigureAwait(false);
            }
        }
        catch (DriveException e)
        {
            throw new RefusalException(RefusalKind.Refused, e.Message, e);
        }

        await _array.GrowAsync().ConfigureAwait(false);
        store.Change(Name, record => record with { SizeBytes = _array.SizeBytes });
        return new MemberChangeResult($"Volume '{Name}' has {ByteSize.FormatRounded(_array.SizeBytes)} now.");
    }
}
