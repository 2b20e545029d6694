// What a record remembers of its members, so that a missing one can be named: who looks for a drive in a rack has its serial
// number, not its role.
//
// Taken down whenever the drives are seen: when an array is made, imported or served. What is not seen keeps what was known of
// it.

using Polyblk.Host.Model;
using Polyblk.Host.State;

namespace Polyblk.Host.Volumes;

/// <summary>Keeps and shows what was known of members.</summary>
public static class MemberMemory
{
    /// <summary>The record with the members that are there now taken down.</summary>
    /// <param name="record">A record whose drives were looked at.</param>
    /// <param name="array">What the superblocks of its drives say; null when none was found.</param>
    public static VolumeRecord Remember(VolumeRecord record, ArrayJson? array)
    {
        if (array is null)
        {
            return record;
        }

        var known = new Dictionary<int, MemberRecord>();
        foreach (MemberRecord member in Known(record))
        {
            known[member.Role] = member;
        }

        foreach (MemberJson member in array.Members)
        {
            if (member is { Drive: string drive, Uuid: Guid uuid, IsInUse: true })
            {
                string stable = DriveList.StablePath(drive);
                string real = DriveList.RealPath(drive);
                string? device = real.StartsWith("/dev/", StringComparison.Ordinal) ? Path.GetFileName(real) : null;
                string? serial = device is null ? null : new DriveIdentity().SerialOf(device);
                known[member.Role] = new MemberRecord(member.Role, uuid, stable, device, serial);
            }
        }

        MemberRecord[] members = [.. known.Values.OrderBy(m => m.Role)];
        return record.Members is not null && record.Members.SequenceEqual(members) ? record : record with { Members = members };
    }

    /// <summary>
    /// Looks at the drives of an array, and writes the record when it has learnt something. Where that cannot be written it is
    /// warned: what is remembered is a help, no condition.
    /// </summary>
    public static async Task<VolumeRecord> RefreshAsync(
        VolumeStore store, VolumeRecord record, Action<string> warn, CancellationToken cancellation)
    {
        if (record.Volatile || record.Level == VolumeOpener.NoLevel)
        {
            return record;
        }

        IReadOnlyList<VolumeJson> found = await ArrayScanner
            .ScanAsync(record.Drives, _ => { }, cancellation).ConfigureAwait(false);
        VolumeJson? its = found.FirstOrDefault(f => f.Uuid == record.Uuid);
        try
        {
            return store.Change(record.Name, now => WithLevel(Remember(now, its?.Array), its));
        }
        catch (RefusalException e)
        {
            warn(e.Message);
            return record;
        }
    }

    /// <summary>
    /// The record with the level that the superblocks say: a reshape may have been cut off between them and the record.
    /// </summary>
    private static VolumeRecord WithLevel(VolumeRecord record, VolumeJson? found) =>
        found is { Health: not Health.Failed } && found.Level != record.Level ? record with { Level = found.Level } : record;

    /// <summary>The members with what the record knows of those that are not there.</summary>
    public static ArrayJson Complete(ArrayJson array, VolumeRecord record) => array with
    {
        Members = [.. array.Members.Select(m => m.Drive is null ? Complete(m, array.Members.Count, record) : m)],
    };

    /// <summary>
    /// How the user knows the drive of a role, of so many; null where it is not known. In a record that never learnt who its
    /// members are, drives stand in the order of their roles when none was left out.
    /// </summary>
    public static string? DriveOf(VolumeRecord record, int role, int members) =>
        Known(record).FirstOrDefault(m => m.Role == role)?.Drive
            ?? (record.Members is null && record.Drives.Count == members ? record.Drives[role] : null);

    private static MemberJson Complete(MemberJson missing, int members, VolumeRecord record)
    {
        MemberRecord? known = Known(record).FirstOrDefault(m => m.Role == missing.Role);

        // Another drive has taken the role since it was looked at: what is known of the one before leads to the wrong one.
        if (known is not null && missing.Uuid is Guid uuid && uuid != known.Uuid)
        {
            return missing;
        }

        if (known is not null)
        {
            return missing with
            {
                Uuid = missing.Uuid ?? known.Uuid,
                LastDrive = known.Drive,
                LastDevice = known.Device,
                Serial = known.Serial,
            };
        }

        return missing with { LastDrive = DriveOf(record, missing.Role, members) };
    }

    /// <summary>The members of a record; it is a file that anybody edits.</summary>
    private static IEnumerable<MemberRecord> Known(VolumeRecord record) =>
        (record.Members ?? []).Where(m => m is { Drive: not null });
}
