// Drives that come and go while a volume is open, by what a user asks for.
//
// Theory of operation. The record says where a start looks; the superblocks say who is a member. So
//   a drive that comes  is recorded, and then made a member or a spare;
//   a drive that goes   is let go by the array, and then leaves the record.
// Whatever ends in between, the next start looks at one drive too many, which it tells and does not need: never at one too few.
// What the array refuses is taken back: the drive leaves the record and is closed, a file that was made for it is removed.
//
// A volatile volume keeps its recipe: what comes and goes while it is served has nothing to do with what it is made of the next
// time.

using System.Globalization;
using Polyblk.Core.Block;
using Polyblk.Drives;
using Polyblk.Drives.Files;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Raid;
using Polyblk.Raid.Superblock;

namespace Polyblk.Host.Volumes;

public sealed partial class ArrayVolume
{
    // Replaced as a whole, by one change at a time; read by any thread.
    private volatile List<VolumeDrive> _drives;

    private readonly SemaphoreSlim _changing = new(1, 1);
    private readonly TaskCompletionSource<VolumeStore> _storeKnown = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile Task _releasing = Task.CompletedTask;
    private volatile ReplacementJson? _replacement;

    private string Name => _record.Name;

    public override async Task<MemberChangeResult> ChangeMembersAsync(MemberChange change, VolumeStore store)
    {
        await _changing.WaitAsync().ConfigureAwait(false);
        try
        {
            return await (change.Kind switch
            {
                MemberChangeKind.Fail => FailAsync(change),
                MemberChangeKind.Replace => ReplaceAsync(change, store),
                MemberChangeKind.AddSpare => AddSpareAsync(change, store),
                MemberChangeKind.Reshape => ReshapeAsync(change, store),
                MemberChangeKind.Grow => GrowAsync(store),
                _ => RemoveAsync(change, store),
            }).ConfigureAwait(false);
        }
        catch (ArrayException e)
        {
            throw new RefusalException(RefusalKind.Refused, e.Message, e);
        }
        finally
        {
            _changing.Release();
            LookAtMembers();
        }
    }

    public override void KeepRecord(VolumeStore store) => _storeKnown.TrySetResult(store);

    /// <summary>The array has done with a drive by itself: it leaves the record, and is closed. Control threads.</summary>
    private void Release(IBlockDevice device) => _releasing = ReleaseAsync(_releasing, device);

    private async Task ReleaseAsync(Task before, IBlockDevice device)
    {
        await before.ConfigureAwait(false);
        if (!_storeKnown.Task.IsCompleted)
        {
            // Nobody keeps the record of this volume: the drive stays open, and is closed with the others.
            return;
        }

        await _changing.WaitAsync().ConfigureAwait(false);
        try
        {
            if (_drives.Find(d => ReferenceEquals(d.Device, device)) is { } drive)
            {
                await LetGoAsync(await _storeKnown.Task.ConfigureAwait(false), drive).ConfigureAwait(false);
            }
        }
        catch (RefusalException)
        {
            // It is recorded still, which the next start says, and does not need.
        }
        finally
        {
            _changing.Release();
            LookAtMembers();
        }
    }

    private async Task<MemberChangeResult> FailAsync(MemberChange change)
    {
        ArrayStatus status = _array.GetStatus();
        Place place = Require(Find(status, change.Drive, store: null), change.Drive);
        if (place.Role is not int role)
        {
            return place.IsSpare
                ? throw RefusalException.Refused($"{change.Drive} is a spare.", $"'polyblk volume remove {Name} {change.Drive}' lets it go.")
                : new MemberChangeResult($"{place.Drive!.Text} is not in use already.");
        }

        MemberStatus member = status.Members[role];
        if (IsOut(member))
        {
            return new MemberChangeResult($"{Describe(member)} of volume '{Name}' is out already.", role);
        }

        await _array.FailMemberAsync(role).ConfigureAwait(false);
        string next = status.Spares.Count > 0 && _start is { RunsJobs: true, RebuildsByItself: true } ? "A spare takes its place."
            : $"Next: polyblk volume replace {Name} {role} NEW_DRIVE";
        return new MemberChangeResult($"{Describe(member)} of volume '{Name}' is out. {next}", role);
    }

    private async Task<MemberChangeResult> ReplaceAsync(MemberChange change, VolumeStore store)
    {
        ArrayStatus status = _array.GetStatus();
        DriveSpec spec = ParseNew(change.NewDrive!);
        Place? old = Find(status, change.Drive, store);
        Place? found = FindDrive(status, spec);
        if (found?.Role is int at && IsDone(status.Members[at], old, change.Drive))
        {
            string how = status.Members[at].State == MemberState.Rebuilding ? "being rebuilt already" : "in its place already";
            return new MemberChangeResult($"{Describe(status.Members[at])} of volume '{Name}' is {how}.", at);
        }

        Place place = Require(old, change.Drive);
        if (place.Role is not int role)
        {
            throw RefusalException.Refused(place.IsSpare
                ? $"{change.Drive} is a spare, not a member: 'polyblk volume remove {Name} {change.Drive}' lets it go."
                : $"{change.Drive} is no member of volume '{Name}' any more: name the member that is out, by its number "
                    + $"(polyblk volume show {Name}).");
        }

        MemberStatus member = status.Members[role];
        bool works = member.State == MemberState.Present;
        if (status.Replacement is { } replacement && replacement.Role == role && found?.Drive?.Device is { } next
            && ReferenceEquals(next, replacement.New))
        {
            return new MemberChangeResult($"{Describe(member)} of volume '{Name}' is being replaced by {found.Drive.Text} already.", role);
        }

        if (works && found?.Role == role)
        {
            throw RefusalException.Refused(
                $"{Describe(member)} of volume '{Name}' works, and cannot take its own place.",
                $"To fill it anew all the same, and do without it meanwhile, fail it first: polyblk volume fail {Name} {role}");
        }

        if (found is { Role: int other } && other != role)
        {
            throw RefusalException.Refused(
                $"{change.NewDrive} is the drive of member {other} of this volume.",
                "Take another one.");
        }

        RefuseGone(spec);
        // Plugged in again it is another one to the kernel: the array lets go of the one that it has (TakeAsync).
        bool isSame = found is not null && place.Drive is not null && ReferenceEquals(found.Drive, place.Drive);
        bool isSpare = found is { IsSpare: true };
        Taken taken = isSpare ? new Taken(found!.Drive!, WasRecorded: true, IsFresh: false)
            : await TakeAsync(store, spec, found?.Drive, after: place.Drive).ConfigureAwait(false);
        IBlockDevice device = taken.Drive.Device!;
        if (works && !change.FailFirst)
        {
            await InstallAsync(store, taken, () => _array.ReplaceWorkingMemberAsync(role, device, change.Force)).ConfigureAwait(false);
            return new MemberChangeResult(
                $"{taken.Drive.Text} is to take the place of member {role} ({member.Name}) of volume '{Name}', which serves until then"
                + (_start.RunsJobs ? "." : "; it is filled when the volume is served next."),
                role);
        }

        await InstallAsync(store, taken, () => _array.ReplaceMemberAsync(role, device, change.Force, change.FailFirst)).ConfigureAwait(false);
        string done = $"{taken.Drive.Text} takes the place of member {role} of volume '{Name}'"
            + (_start.RunsJobs ? " and is being rebuilt." : "; it is filled when the volume is served next.");
        try
        {
            if (!isSame && place.Drive is not null && !IsInArray(_array.GetStatus(), place.Drive))
            {
                await LetGoAsync(store, place.Drive).ConfigureAwait(false);
            }

            return new MemberChangeResult(done, role);
        }
        catch (RefusalException e)
        {
            return new MemberChangeResult($"{done} {place.Drive!.Text} is still recorded: {e.Message}", role);
        }
    }

    /// <summary>
    /// Whether a drive has the place already that it is to take: the same command once more, to wait for the end of it.
    /// </summary>
    private static bool IsDone(MemberStatus member, Place? old, string oldText) => !IsOut(member)
        && (old is null || (old.Role == member.Role && (IsNumber(oldText, out _) || member.State == MemberState.Rebuilding)));

    private async Task<MemberChangeResult> AddSpareAsync(MemberChange change, VolumeStore store)
    {
        ArrayStatus status = _array.GetStatus();
        DriveSpec spec = ParseNew(change.Drive);
        Place? found = FindDrive(status, spec);
        if (found is { IsSpare: true })
        {
            return new MemberChangeResult($"{found.Drive!.Text} is a spare of volume '{Name}' already.");
        }

        if (found?.Role is int role && found.Drive!.Device is not null)
        {
            throw RefusalException.Refused(IsOut(status.Members[role])
                ? $"{change.Drive} is the drive of member {role}, which is out: 'polyblk volume replace {Name} {role} {change.Drive}' fills "
                    + $"it anew, 'polyblk volume remove {Name} {change.Drive}' lets it go."
                : $"{change.Drive} is member {role} of volume '{Name}'.");
        }

        RefuseGone(spec);
        Taken taken = await TakeAsync(store, spec, found?.Drive, after: null).ConfigureAwait(false);
        IBlockDevice device = taken.Drive.Device!;
        await InstallAsync(store, taken, () => _array.AddSpareAsync(device, change.Force)).ConfigureAwait(false);
        Tell(EventKinds.SpareAdded, taken.Drive);
        string use = status.Members.FirstOrDefault(IsOut) is not { } empty ? string.Empty
            : _start is { RunsJobs: true, RebuildsByItself: true } ? $" It is used for member {empty.Role}, which is out."
            : $" Member {empty.Role} is out: 'polyblk volume replace {Name} {empty.Role} {taken.Drive.Text}' uses it.";
        return new MemberChangeResult($"{taken.Drive.Text} is a spare of volume '{Name}'.{use}");
    }

    private async Task<MemberChangeResult> RemoveAsync(MemberChange change, VolumeStore store)
    {
        ArrayStatus status = _array.GetStatus();
        Place place = Require(Find(status, change.Drive, store), change.Drive);
        if (place.Drive is not VolumeDrive drive)
        {
            return new MemberChangeResult($"Member {place.Role} of volume '{Name}' has no drive already.", place.Role);
        }

        if (drive.Device is not null)
        {
            await _array.RemoveDriveAsync(drive.Device).ConfigureAwait(false);
        }

        await LetGoAsync(store, drive).ConfigureAwait(false);
        Tell(EventKinds.DriveRemoved, drive);
        return new MemberChangeResult($"{drive.Text} does not belong to volume '{Name}' any more.", place.Role);
    }

    /// <summary>Who asked for it has said so: the log of requests, or the command.</summary>
    private void Tell(string kind, VolumeDrive drive) => _events.TellQuietly(new EventJson
    {
        Kind = kind, Volume = Name, Drive = _events.IdentityOf(drive.Spec.IsVolatile ? drive.Text : drive.Spec.Path),
    });

    /// <summary>Opens a drive that comes, and takes it down in the record.</summary>
    /// <param name="store">Where the record is.</param>
    /// <param name="spec">The drive.</param>
    /// <param name="known">
    /// The same, where the volume had it before and does not use it: the array lets it go, and it is opened anew.
    /// </param>
    /// <param name="after">Behind which drive it is recorded; null is the end.</param>
    private async Task<Taken> TakeAsync(VolumeStore store, DriveSpec spec, VolumeDrive? known, VolumeDrive? after)
    {
        if (known?.Device is IBlockDevice closed)
        {
            VolumeDrive shut = known with { Device = null, Problem = "it is being opened again" };
            await _array.RemoveDriveAsync(closed).ConfigureAwait(false);
            Exchange(known, shut);
            known = shut;
            await closed.DisposeAsync().ConfigureAwait(false);
        }

        bool isFresh = spec is { IsVolatile: false, SizeBytes: not null } && !File.Exists(spec.Path);
        IBlockDevice device;
        try
        {
            device = DriveList.Open(spec);
        }
        catch (RefusalException e) when (known is not null)
        {
            Exchange(known, known with { Problem = e.Message });
            throw;
        }

        var come = new VolumeDrive(DriveSpec.Parse(DriveList.ToRecord(spec)), device);
        try
        {
            if (!_record.Volatile)
            {
                store.Change(Name, record => record with { Drives = With(record.Drives, come.Text, known?.Text, after?.Text) });
            }
        }
        catch
        {
            await CloseAsync(come, isFresh).ConfigureAwait(false);
            throw;
        }

        List<VolumeDrive> drives = [.. _drives.Where(d => !ReferenceEquals(d, known))];
        drives.Add(come);
        _drives = drives;
        return new Taken(come, known is not null, isFresh);
    }

    /// <summary>Gives a drive that was taken to the array; takes it back where the array does not have it then.</summary>
    private async Task InstallAsync(VolumeStore store, Taken taken, Func<Task> install)
    {
        try
        {
            await install().ConfigureAwait(false);
        }
        catch (Exception e)
        {
            if (!IsInArray(_array.GetStatus(), taken.Drive))
            {
                if (taken.WasRecorded)
                {
                    Exchange(taken.Drive, taken.Drive with { Device = null, Problem = e.Message });
                    await CloseAsync(taken.Drive, remove: false).ConfigureAwait(false);
                }
                else
                {
                    await LetGoAsync(store, taken.Drive, taken.IsFresh).ConfigureAwait(false);
                }
            }

            throw;
        }
    }

    /// <summary>A drive with which the array has nothing to do any more leaves the record and is closed.</summary>
    private async Task LetGoAsync(VolumeStore store, VolumeDrive drive, bool remove = false)
    {
        _drives = [.. _drives.Where(d => !ReferenceEquals(d, drive))];
        try
        {
            if (!_record.Volatile)
            {
                store.Change(Name, record => record with { Drives = [.. record.Drives.Where(d => d != drive.Text)] });
            }
        }
        finally
        {
            await CloseAsync(drive, remove).ConfigureAwait(false);
        }
    }

    private static async Task CloseAsync(VolumeDrive drive, bool remove)
    {
        if (drive.Device is not null)
        {
            await drive.Device.DisposeAsync().ConfigureAwait(false);
        }

        if (remove)
        {
            File.Delete(drive.Spec.Path);
        }
    }

    private void Exchange(VolumeDrive before, VolumeDrive after) => _drives = [.. _drives.Select(d => ReferenceEquals(d, before) ? after : d)];

    /// <summary>The drives of a record with a further one.</summary>
    internal static IReadOnlyList<string> With(IReadOnlyList<string> drives, string come, string? known, string? after)
    {
        List<string> list = [.. drives];
        if (known is not null && list.IndexOf(known) is >= 0 and int was)
        {
            list[was] = come;
            return list;
        }

        if (!list.Contains(come))
        {
            int at = after is null ? -1 : list.IndexOf(after);
            list.Insert(at < 0 ? list.Count : at + 1, come);
        }

        return list;
    }

    /// <summary>A drive that comes must be of the kind that the volume has.</summary>
    private DriveSpec ParseNew(string text)
    {
        DriveSpec spec = DriveList.ParseOne(text);
        return spec.IsVolatile == _record.Volatile ? spec : throw RefusalException.Invalid(
            $"'{text}' is {(spec.IsVolatile ? "volatile, and volume '" + Name + "' lasts" : "lasting, and volume '" + Name + "' is volatile")}: "
            + "they cannot be mixed.");
    }

    private static void RefuseGone(DriveSpec spec)
    {
        if (spec is { IsVolatile: false, SizeBytes: null } && DriveReader.IdentityOf(spec.Path) is null)
        {
            throw RefusalException.NotFound(
                $"{spec.Path}: there is no such file or device.", spec.Path.StartsWith("/dev/", StringComparison.Ordinal)
                    ? "Check the path (lsblk)." : $"Check the path (lsblk), or create a file: file:{spec.Path},size=1GiB.");
        }
    }

    /// <summary>What a user means by a drive or the number of a member; null where it is nothing of this volume.</summary>
    /// <exception cref="RefusalException">There is no such member; or several drives are written like that.</exception>
    private Place? Find(ArrayStatus status, string text, VolumeStore? store)
    {
        if (IsNumber(text, out int number))
        {
            if (number >= status.Members.Count)
            {
                throw RefusalException.Invalid(
                    $"Volume '{Name}' has members 0 to {status.Members.Count - 1}, not {number}. (A file of that name is written ./{text}.)");
            }

            VolumeDrive? its = _drives.Find(d => RoleOf(status, d) == number);
            return new Place(its, number, IsSpare: false);
        }

        DriveSpec spec = DriveList.ParseOne(text);
        if (spec.IsVolatile)
        {
            // Drives of memory are written alike: one is meant when it is the only one, or the only one that is not in use.
            VolumeDrive[] alike = [.. _drives.Where(d => d.Text == spec.Text)];
            VolumeDrive[] idle = [.. alike.Where(d => RoleOf(status, d) is not int role || IsOut(status.Members[role]))];
            return alike.Length == 1 ? ToPlace(status, alike[0]) : idle.Length == 1 ? ToPlace(status, idle[0]) : null;
        }

        if (FindDrive(status, spec) is Place place)
        {
            return place;
        }

        // A drive that is gone may be called by what the kernel called it.
        MemberRecord? known = (store?.Get(Name) ?? _record).Members?.FirstOrDefault(
            m => m is { Device: not null } && spec.Path == "/dev/" + m.Device && m.Role < status.Members.Count);
        return known is null || status.Members[known.Role].Drive is not null ? null
            : new Place(_drives.Find(d => d.Spec.Path == known.Drive), known.Role, IsSpare: false);
    }

    /// <summary>A drive that the volume has; one of memory is always another one, whatever others are written like.</summary>
    private Place? FindDrive(ArrayStatus status, DriveSpec spec)
    {
        VolumeDrive[] same = spec.IsVolatile ? [] : [.. _drives.Where(d => d.Is(spec))];
        return (same.FirstOrDefault(d => d.Device is not null) ?? same.FirstOrDefault()) is { } drive ? ToPlace(status, drive) : null;
    }

    private Place ToPlace(ArrayStatus status, VolumeDrive drive) =>
        new(drive, RoleOf(status, drive), drive.Device is not null && status.SpareDrives.Contains(drive.Device));

    private Place Require(Place? place, string text) => place ?? throw RefusalException.NotFound(
        $"{text} is no drive of volume '{Name}'. It has: {string.Join(", ", _drives.Select(d => d.Text).Distinct())}."
        + (_record.Volatile ? " Name the member by its number." : string.Empty));

    /// <summary>
    /// The role of a drive. One that is left out has the role that it had when it was last seen, where no other has that now.
    /// </summary>
    private int? RoleOf(ArrayStatus status, VolumeDrive drive)
    {
        if (IsInArray(status, drive))
        {
            return status.Members.FirstOrDefault(m => ReferenceEquals(m.Drive, drive.Device))?.Role;
        }

        return status.Members.FirstOrDefault(
            m => m.Drive is null && MemberMemory.DriveOf(_record, m.Role, status.Members.Count) is string known
                && (known == drive.Text || known == drive.Spec.Path))?.Role;
    }

    /// <summary>Whether a member is named by its number.</summary>
    public static bool IsNumber(string text, out int role) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out role);

    private static bool IsOut(MemberStatus member) => member.State is MemberState.Failed or MemberState.Missing;

    private static bool IsInArray(ArrayStatus status, VolumeDrive drive) => drive.Device is not null
        && (status.Members.Any(m => ReferenceEquals(m.Drive, drive.Device)) || status.SpareDrives.Contains(drive.Device));

    private static string Describe(MemberStatus member) =>
        member.Name.Length == 0 ? $"Member {member.Role}" : $"Member {member.Role} ({member.Name})";

    /// <summary>What a drive is to the volume.</summary>
    /// <param name="Drive">The drive; null where a member has none.</param>
    /// <param name="Role">The member that it is, or was last; null where it is none.</param>
    /// <param name="IsSpare">Whether it is a spare.</param>
    private sealed record Place(VolumeDrive? Drive, int? Role, bool IsSpare);

    /// <summary>A drive that was opened for a change.</summary>
    /// <param name="Drive">The drive.</param>
    /// <param name="WasRecorded">Whether it had been recorded before.</param>
    /// <param name="IsFresh">Whether its file was made for it.</param>
    private sealed record Taken(VolumeDrive Drive, bool WasRecorded, bool IsFresh);
}
