// Drives: whose they are, and who has one that it is not to have.
//
// Who is a member is in the superblocks, and changes: spares take places. So the drives of a volume are compared as one set, and
// only a spare is added. Volumes of one spare group are one set together, since their spares go from one to the other, and become
// members there: a drive that the declaration names for one of them may be with any of them.

using Polyblk.Drives;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Host.Declared;

public sealed partial class Planner
{
    private async Task PlanDrivesAsync(DeclaredVolume volume, VolumeRecord record)
    {
        List<string> left = [.. record.Drives];
        (string Drive, bool IsSpare)[] all = [.. (volume.Drives ?? []).Select(d => (d, false)),
            .. (volume.Spares ?? []).Select(d => (d, true))];
        foreach ((string drive, bool isSpare) in all)
        {
            DriveSpec wanted = DriveList.ParseOne(drive);
            int at = left.FindIndex(d => IsSame(d, wanted));
            if (at >= 0)
            {
                left.RemoveAt(at);
            }
            else if (!wanted.IsVolatile
                && InGroupOf(volume.Name).FirstOrDefault(r => r.Drives.Any(d => IsSame(d, wanted))) is VolumeRecord holder)
            {
                _notes.Add($"{drive} of volume '{volume.Name}' is with '{holder.Name}' of its spare group, and stays there.");
            }
            else if (!isSpare)
            {
                Refuse(
                    volume,
                    Keys.Drives,
                    $"{drive} is no drive of volume '{record.Name}'. 'polyblk volume replace {record.Name} OLD {drive}' lets it "
                    + $"take another's place, 'polyblk volume reshape {record.Name} --add {drive}' spreads the volume over it.");
            }
            else if (record.Volatile || record.Level == VolumeOpener.NoLevel)
            {
                Refuse(volume, Keys.Spares, "only an array of drives that last has spares.");
            }
            else
            {
                await PlanSpareAsync(volume, drive).ConfigureAwait(false);
            }
        }

        foreach (string drive in volume.Drives is null ? [] : left.Where(d => !IsNamedInGroup(volume, d)))
        {
            bool isMember = record.Members is not IReadOnlyList<MemberRecord> members || members.Any(m => m.Drive == drive);
            if (isMember || volume.Spares is not null)
            {
                string other = isMember ? $"; 'polyblk volume replace {record.Name} {drive} NEW' puts another one in its place."
                    : $", or let go of it: polyblk volume remove {record.Name} {drive}";
                string problem = $"volume '{record.Name}' has {drive}, which is not named. Name it{other}";
                Refuse(volume, isMember ? Keys.Drives : Keys.Spares, problem);
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
            Refuse(volume, Keys.Spares, e.Message);
            return;
        }

        var what = new Difference(DifferenceKind.Change, volume.Name) { Key = Keys.Spares, To = drive };
        Add(ApplyPhase.Spare, what, async c =>
        {
            var change = new MemberChange(MemberChangeKind.AddSpare, drive);
            var request = new ControlRequest { Command = change.Word, Drive = drive };
            if (await ControlClient.AskAsync(_directories, volume.Name, request, c).ConfigureAwait(false) is null)
            {
                _ = await StoppedVolume.ChangeAsync(
                    _directories,
                    volume.Name,
                    change,
                    runsJobs: false,
                    () => _options.OpenLog(volume.Name),
                    _options.Warn,
                    (done, _) => Task.FromResult(done.Message),
                    c).ConfigureAwait(false);
            }

            return what;
        });
    }

    /// <summary>
    /// A drive that comes to a volume belongs to no other one, here or in the declaration; but to one of its spare group it may
    /// have gone.
    /// </summary>
    private void CheckDrives()
    {
        var named = new List<(string Volume, string Drive)>();
        foreach (DeclaredVolume volume in _declared.Volumes)
        {
            string[] group = [.. InGroupOf(volume.Name).Select(r => r.Name)];
            foreach (DriveSpec drive in DrivesOf(volume).Select(DriveList.ParseOne).Where(d => !d.IsVolatile))
            {
                IEnumerable<string> owners = _records.Where(r => !group.Contains(r.Name) && r.Drives.Any(d => IsSame(d, drive)))
                    .Select(r => r.Name)
                    .Concat(named.Where(n => IsSame(n.Drive, drive)).Select(n => n.Volume));
                if (owners.FirstOrDefault(o => o != volume.Name) is string owner)
                {
                    Refuse(volume, Keys.Drives, $"{drive.Text} is a drive of volume '{owner}'.");
                }

                named.Add((volume.Name, drive.Text));
            }
        }

        foreach (DeclaredVolume volume in _declared.Volumes)
        {
            _ = _problems.Try(volume.PlaceOf(Keys.Drives), KeyOf(volume, null), () => DriveList.Parse(DrivesOf(volume)));
        }
    }

    /// <summary>The other volumes that there are of a volume's spare group; none of one that is to be made.</summary>
    private IEnumerable<VolumeRecord> InGroupOf(string volume) =>
        _records.Any(r => r.Name == volume) && GroupOf(volume) is string group
            ? _records.Where(r => r.Name != volume && GroupOf(r.Name) == group)
            : [];

    /// <summary>Whether the declaration names a drive for another volume of the group: it may have come from there.</summary>
    private bool IsNamedInGroup(DeclaredVolume volume, string drive)
    {
        string[] group = [.. InGroupOf(volume.Name).Select(r => r.Name)];
        return _declared.Volumes.Where(v => group.Contains(v.Name)).SelectMany(DrivesOf).Select(DriveList.ParseOne)
            .Any(d => !d.IsVolatile && IsSame(drive, d));
    }

    /// <summary>The spare group of a volume once the declaration is applied; null for none.</summary>
    private string? GroupOf(string volume)
    {
        string? group = _declared.Volumes.FirstOrDefault(v => v.Name == volume)?.SpareGroup
            ?? _records.FirstOrDefault(r => r.Name == volume)?.SpareGroup;
        return group == VolumeSettings.NoSpareGroup ? null : group;
    }

    private static bool IsSame(string drive, DriveSpec other) => new VolumeDrive(DriveList.ParseOne(drive), null).Is(other);

    private static IEnumerable<string> DrivesOf(DeclaredVolume volume) => (volume.Drives ?? []).Concat(volume.Spares ?? []);
}
