// An array that gets another shape while it is open: further members, or all that its drives have more now.

using Polyblk.Core.Block;
using Polyblk.Drives;
using Polyblk.Drives.Files;
using Polyblk.Host.State;
using Polyblk.Raid;

namespace Polyblk.Host.Volumes;

public sealed partial class ArrayVolume
{
    private async Task<MemberChangeResult> ReshapeAsync(MemberChange change, VolumeStore store)
    {
        DriveSpec[] specs = [.. change.MoreDrives.Prepend(change.Drive).Select(ParseNew)];
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

            await _array.AddDrivesAsync([.. taken.Select(t => t.Drive.Device!)], change.Force).ConfigureAwait(false);
        }
        catch (Exception e) when (e is not ArrayException { HasBegun: true })
        {
            foreach (Taken one in taken.Where(t => !IsInArray(_array.GetStatus(), t.Drive)))
            {
                await LetGoAsync(store, one.Drive, one.IsFresh).ConfigureAwait(false);
            }

            throw;
        }

        return new MemberChangeResult(
            $"Volume '{Name}' gets {taken.Count} more {(taken.Count == 1 ? "drive" : "drives")}"
            + (_start.RunsJobs ? ", and is being spread over all. It grows when that is done." : "; it is spread over all when it is served next."));
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
