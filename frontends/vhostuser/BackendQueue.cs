// One vring of a session: what the front-end has said about it so far, and the queue that runs once enough was said.
//
// Front-ends send the parts in different orders (SPDK's initiator enables first, libblkio last, QEMU sends memory before or
// after), so no message starts a queue by itself: after each message the session asks whether the queue should run, and starts or
// stops it.

using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;
using Polyblk.Virtio;
using Polyblk.Virtio.Memory;
using Polyblk.Virtio.VhostUser;

namespace Polyblk.Frontends.VhostUser;

/// <summary>The control side of a vring. The session's thread only.</summary>
/// <param name="index">Its index.</param>
/// <param name="onOffence">Told, on another thread, why the session has to end because of how the front-end treats this
/// queue.</param>
internal sealed class BackendQueue(int index, Action<string> onOffence) : IDisposable
{
    /// <summary>
    /// Queues of a session that get what they need as long as there is any; further ones get less, and are refused earlier.
    /// </summary>
    private const int FewQueues = 16;

    /// <summary>
    /// Requests in flight of one of the first queues, where its ring has as many entries; a drive is busy with fewer.
    /// </summary>
    private const int MostPlaces = 256;

    /// <summary>The same of further queues: those of machines with very many processors, which share the drives.</summary>
    private const int MostPlacesOfMany = 64;

    private const int LeastPlaces = 16;

    private int _places;

    /// <summary>Its index.</summary>
    public int Index => index;

    /// <summary>SET_VRING_NUM; 0 when not set.</summary>
    public int Size { get; set; }

    /// <summary>SET_VRING_ADDR; null when not set.</summary>
    public vhost_vring_addr? Address { get; set; }

    /// <summary>SET_VRING_BASE, or where the queue stopped; null when neither.</summary>
    public uint? Base { get; set; }

    /// <summary>Whether SET_VRING_KICK has come.</summary>
    public bool HasKick { get; private set; }

    /// <summary>The kick descriptor; null: none was given, poll.</summary>
    public SafeFileHandle? Kick { get; private set; }

    /// <summary>SET_VRING_ENABLE; null when it never came.</summary>
    public bool? Enabled { get; set; }

    /// <summary>How the driver is notified.</summary>
    public EventFdNotifier? Call { get; private set; }

    /// <summary>How the driver is told of a broken ring.</summary>
    public EventFdNotifier? Error { get; private set; }

    /// <summary>Its region of the inflight buffer, from its start until it is stopped for good.</summary>
    public InflightLog? Inflight { get; private set; }

    /// <summary>The reactor it was given; kept until the session ends.</summary>
    public Reactor? Reactor { get; set; }

    /// <summary>Whether it was stopped with requests of a predecessor left to do.</summary>
    public bool HasUndone { get; set; }

    /// <summary>Where it was stopped with nothing left to do; null while it runs, and when it never did.</summary>
    public uint? DrainedAt { get; set; }

    /// <summary>The running queue.</summary>
    public VirtioBlkQueue? Live { get; set; }

    /// <summary>Guest address for logging of the used ring, or null.</summary>
    public ulong? UsedLogAddress =>
        Address is { } a && (a.flags & VhostUserAbi.VHOST_VRING_F_LOG) != 0 ? a.log_guest_addr : null;

    /// <summary>
    /// Whether a table has the beginnings of all three parts of the ring. What may be done there is another question: a ring in
    /// memory that may only be read is refused when it starts, and the front-end is told.
    /// </summary>
    public unsafe bool IsMappedIn(GuestMemory memory) => Address is { } a
        && memory.TranslateUser(a.desc_user_addr, 1, MapAccess.None) is not null
        && memory.TranslateUser(a.avail_user_addr, 1, MapAccess.None) is not null
        && memory.TranslateUser(a.used_user_addr, 1, MapAccess.None) is not null;

    /// <summary>Takes places for requests in flight, to be given back when the queue has ended.</summary>
    /// <exception cref="IOException">There are none.</exception>
    public int TakePlaces()
    {
        bool isOneOfMany = index >= FewQueues;
        int wanted = Math.Min(Size, isOneOfMany ? MostPlacesOfMany : MostPlaces);
        _places = SessionContext.Places.TakeUpTo(wanted, Math.Min(wanted, LeastPlaces), isOneOfMany);
        return _places;
    }

    /// <summary>Gives them back.</summary>
    public void ReturnPlaces()
    {
        SessionContext.Places.Return(_places);
        _places = 0;
    }

    /// <summary>
    /// Takes a new kick descriptor over (or none). Where it throws, the one before stays in use and the new one is closed; so
    /// with the two below.
    /// </summary>
    public void SetKick(ForeignDescriptor? given)
    {
        SafeFileHandle? kick = given is null ? null : TakeEventFd(given, "kick");
        Use(kick, () => Live?.SetKickAsync(kick));
        SafeFileHandle? old = Kick;
        Kick = kick;
        HasKick = true;
        Close(old);
    }

    /// <summary>Takes a new call descriptor over (or none).</summary>
    public void SetCall(ForeignDescriptor? given)
    {
        EventFdNotifier? call = NotifierOf(given, "call");
        Use(call, () => Live?.SetCallAsync(call));
        EventFdNotifier? old = Call;
        Call = call;
        Close(old);
    }

    /// <summary>Takes a new error descriptor over (or none).</summary>
    public void SetError(ForeignDescriptor? given)
    {
        EventFdNotifier? error = NotifierOf(given, "error");
        Use(error, () => Live?.SetErrorAsync(error));
        EventFdNotifier? old = Error;
        Error = error;
        Close(old);
    }

    /// <summary>Takes over a region of the inflight buffer (or none), and lets go of the one before. Not while it runs.</summary>
    public void UseInflight(InflightLog? log)
    {
        Inflight?.Dispose();
        Inflight = log;
    }

    /// <summary>Forgets the kick: the ring is stopped until the next SET_VRING_KICK. Not while it runs.</summary>
    public void DropKick()
    {
        HasKick = false;
        Close(Kick);
        Kick = null;
    }

    /// <summary>
    /// Back to the initial state, but for the call and error descriptors, which front-ends send once. Not while it runs.
    /// </summary>
    public void Reset()
    {
        DropKick();
        Size = 0;
        Address = null;
        Base = null;
        Enabled = null;
    }

    private EventFdNotifier? NotifierOf(ForeignDescriptor? given, string kind)
    {
        if (given is null)
        {
            return null;
        }

        SafeFileHandle descriptor = TakeEventFd(given, kind);
        try
        {
            return new EventFdNotifier(descriptor, () => onOffence($"queue {index} was held up by its {kind} descriptor, a full eventfd in blocking mode"));
        }
        catch
        {
            Close(descriptor);
            throw;
        }
    }

    /// <summary>Has the running queue use something new; where it does not, the new one is closed.</summary>
    private static void Use(IDisposable? holder, Func<Task?> use)
    {
        try
        {
            use()?.GetAwaiter().GetResult();
        }
        catch
        {
            Close(holder);
            throw;
        }
    }

    /// <summary>Closes what holds a descriptor that was checked.</summary>
    private static void Close(IDisposable? holder)
    {
        if (holder is not null)
        {
            holder.Dispose();
            SessionContext.Descriptors.Return();
        }
    }

    /// <summary>
    /// Takes an eventfd over; what is none, or one too many, is refused and closed. An eventfd's own end waits for nothing.
    /// </summary>
    private SafeFileHandle TakeEventFd(ForeignDescriptor given, string kind)
    {
        using ForeignDescriptor descriptor = given;
        try
        {
            EventFd.Require(descriptor.File);
            SessionContext.Descriptors.Take(isOneOfMany: index >= FewQueues);
        }
        catch (IOException e)
        {
            throw new ProtocolException($"the {kind} descriptor of queue {index} cannot be used: {e.Message}");
        }

        return new SafeFileHandle(descriptor.TakeOver(), ownsHandle: true);
    }

    /// <summary>Closes everything. Not while it runs.</summary>
    public void Dispose()
    {
        DropKick();
        UseInflight(null);
        ReturnPlaces();
        Close(Call);
        Close(Error);
        Call = null;
        Error = null;
    }
}
