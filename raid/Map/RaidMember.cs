using Polyblk.Core.Block;
using Polyblk.Raid.Checksums;
using Polyblk.Raid.Control;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Map;

/// <summary>A role of an array, with its drive if there is one, and what went wrong with it.</summary>
internal sealed class RaidMember(int role, IBlockDevice? drive, Guid uuid)
{
    private long _readErrors, _writeErrors, _repairs;
    private int _readErrorsInARow;
    private bool _isProbed;
    private bool _isLeft;
    private readonly FaultSlot _fault = new();
    private readonly Lock _overdueLock = new();
    private int _overdueSince = int.MaxValue;
    private MemberPort[] _ports = [];
    private readonly Lock _traffic = new();
    private MemberTraffic _past = MemberTraffic.None;

    /// <summary>The role, from 0.</summary>
    public int Role { get; } = role;

    /// <summary>
    /// The drive; null when the array does without the member. Where it cannot, and is read all the same, one that answers every
    /// request with an error.
    /// </summary>
    public IBlockDevice? Drive { get; } = drive;

    /// <summary>Its checksums, where the array has them.</summary>
    public ChecksummedDrive? Sums { get; init; }

    /// <summary>What requests go to: the drive, through its checksums where it has some.</summary>
    public IBlockDevice? Way => Sums ?? Drive;

    /// <summary>The member's UUID; empty when the role never had a drive that is known.</summary>
    public Guid Uuid { get; } = uuid;

    /// <summary>The sequence number of the superblock last written to it. The control task's.</summary>
    public ulong Sequence { get; set; }

    /// <summary>What this run has written as its superblocks. The control task's.</summary>
    public OwnSlots OwnSlots { get; } = new();

    /// <summary>
    /// For a member that is out: the event count at which the superblocks first said so; otherwise 0. The control task's.
    /// </summary>
    public ulong OutSinceEvent { get; set; }

    /// <summary>Why it is out, should it be.</summary>
    public OutReason WhyOut { get; set; } = OutReason.Errors;

    /// <summary>Whether no drive with this role is here.</summary>
    public bool IsAbsent => Drive is null or AbsentDrive;

    /// <summary>
    /// Since which second of the array a superblock or a flush of the control task is on its way to it; <see
    /// cref="int.MaxValue"/> when none is.
    /// </summary>
    public int ControlSince { get; set; } = int.MaxValue;

    /// <summary>What that is. For whoever finds that it takes too long.</summary>
    public BlockFault ControlRequest { get; set; }

    /// <summary>Whether a read is on its way to it that only asks whether it answers. Any thread.</summary>
    public bool IsProbed
    {
        get => Volatile.Read(ref _isProbed);
        set => Volatile.Write(ref _isProbed, value);
    }

    /// <summary>
    /// Whether it is out and its drive is left what it has: nothing waits for it any more, and it gets no new queues. For good.
    /// </summary>
    public bool IsLeft
    {
        get => Volatile.Read(ref _isLeft);
        set => Volatile.Write(ref _isLeft, value);
    }

    public long ReadErrors => Interlocked.Read(ref _readErrors);

    public long WriteErrors => Interlocked.Read(ref _writeErrors);

    public long Repairs => Interlocked.Read(ref _repairs);

    /// <summary>Reads that failed, and none has succeeded since, as its reactors have seen it.</summary>
    public int ReadErrorsInARow => Volatile.Read(ref _readErrorsInARow);

    /// <summary>
    /// The superblock that is written to it next, of what all members are to hold: role, UUID and sequence number are its own.
    /// </summary>
    public ArraySuperblock NextOf(ArraySuperblock superblock) =>
        superblock with { Role = Role, MemberUuid = Uuid, Sequence = Sequence + 1 };

    public void CountReadError()
    {
        Interlocked.Increment(ref _readErrors);
        Interlocked.Increment(ref _readErrorsInARow);
    }

    /// <summary>A read succeeded.</summary>
    public void CountRead()
    {
        if (_readErrorsInARow != 0)
        {
            Volatile.Write(ref _readErrorsInARow, 0);
        }
    }

    public void CountWriteError() => Interlocked.Increment(ref _writeErrors);

    /// <summary>A write or flush failed. Any thread.</summary>
    public void NoteWriteError(BlockErrorKind kind)
    {
        CountWriteError();
        if (kind == BlockErrorKind.Gone && !IsLeft && WhyOut is not (OutReason.Asked or OutReason.TimedOut))
        {
            // Nothing is wrong with a drive that was pulled; one that somebody wanted out stays out. What one was asked that is
            // out by the time that it took ends like that, too.
            WhyOut = OutReason.Absent;
        }
    }

    /// <summary>The last request that its drive answered with an error; null where there was none. Any thread.</summary>
    public BlockFault? LastFault => _fault.Get();

    /// <summary>Its drive answered a request with an error. Any thread; allocates nothing.</summary>
    public void NoteFault(in BlockFault fault) => _fault.Set(fault);

    /// <summary>
    /// A request that its drive has not answered, for which it is out: of several that are noted the oldest counts. Any thread.
    /// </summary>
    /// <param name="since">Since which second of the array it is there.</param>
    /// <param name="request">What it is.</param>
    public void NoteOverdue(int since, in BlockFault request)
    {
        lock (_overdueLock)
        {
            if (since < _overdueSince)
            {
                _overdueSince = since;
                NoteFault(request);
            }
        }
    }

    /// <summary>Since which second of the array the oldest of them is there; <see cref="int.MaxValue"/> without one.</summary>
    public int OverdueSince
    {
        get
        {
            lock (_overdueLock)
            {
                return _overdueSince;
            }
        }
    }

    public void CountRepair() => Interlocked.Increment(ref _repairs);

    /// <summary>A way to it was opened.</summary>
    public void Add(MemberPort? port)
    {
        if (port is not null)
        {
            Change(ports => [.. ports, port]);
        }
    }

    /// <summary>A way to it is being closed.</summary>
    public void Remove(MemberPort port)
    {
        lock (_traffic)
        {
            Change(ports => [.. ports.Where(p => !ReferenceEquals(p, port))]);
            _past = _past.Plus(port.Traffic);
        }
    }

    /// <summary>What was asked of its drive and answered, by all ways since the start. Any thread.</summary>
    public MemberTraffic Traffic
    {
        get
        {
            lock (_traffic)
            {
                return Ports.Aggregate(_past, (sum, port) => sum.Plus(port.Traffic));
            }
        }
    }

    /// <summary>The ways to it that are open. Any thread.</summary>
    public IReadOnlyList<MemberPort> Ports => Volatile.Read(ref _ports);

    /// <summary>Requests of all ways that are at the drive. Any thread.</summary>
    public int InFlight => Volatile.Read(ref _ports).Sum(p => p.InFlight);

    /// <summary>
    /// Whether nothing is owed by its drive: no request is there, none waits to be sent there again, and no superblock is on its
    /// way. Any thread; true for good once the member is out.
    /// </summary>
    public bool IsDrained =>
        ControlSince == int.MaxValue && !IsProbed && Volatile.Read(ref _ports).All(p => p.InFlight == 0 && p.Waiting == 0);

    /// <summary>
    /// Since which second of the array its oldest request in flight has been there; <see cref="int.MaxValue"/> without one.
    /// </summary>
    public int OldestSeconds() =>
        Volatile.Read(ref _ports).Aggregate(ControlSince, (oldest, port) => Math.Min(oldest, port.OldestSeconds()));

    /// <summary>The same, but not earlier than it was.</summary>
    public int SurelySeconds() =>
        Volatile.Read(ref _ports).Aggregate(ControlSince, (oldest, port) => Math.Min(oldest, port.SurelySeconds()));

    /// <summary>Ways are opened and closed rarely, by several reactors: whoever comes second tries again.</summary>
    private void Change(Func<MemberPort[], MemberPort[]> change)
    {
        MemberPort[] seen, found = Volatile.Read(ref _ports);
        do
        {
            seen = found;
            found = Interlocked.CompareExchange(ref _ports, change(seen), seen);
        }
        while (!ReferenceEquals(found, seen));
    }
}
