// The queues of one device, spread over reactors. Control plane: it makes, drains and frees queues on their reactors' threads.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using static Polyblk.Frontends.Ublk.UblkAbi;

namespace Polyblk.Frontends.Ublk;

/// <summary>What the queues serve.</summary>
/// <param name="Device">The volume.</param>
/// <param name="ReadOnly">Whether nothing may change it: asked for, or the volume is so.</param>
internal sealed record UblkVolume(IBlockDevice Device, bool ReadOnly)
{
    /// <summary>That of an export.</summary>
    public UblkVolume(ExportSpec spec)
        : this(spec.Device, spec.ReadOnly || spec.Device.Limits.ReadOnly)
    {
    }
}

/// <summary>The running queues of an export.</summary>
internal sealed class UblkQueueSet(ReactorGroup reactors)
{
    private readonly List<Member> _members = [];

    /// <summary>The reactors' names, in the order of the queues.</summary>
    public IReadOnlyList<string> ReactorNames => [.. _members.Select(m => m.Reactor.Name)];

    /// <summary>
    /// Whether the kernel let us mark the reactors' threads: see <see cref="UblkInterop.MarkThreadAsIoFlusher"/>.
    /// </summary>
    public bool ThreadsAreIoFlushers { get; private set; } = true;

    /// <summary>
    /// Opens the volume on a reactor for each queue. Nothing of it reaches the driver, so that what may fail has failed before
    /// the driver has got some queues and lacks others.
    /// </summary>
    /// <exception cref="FrontendException">A reactor cannot do it. The device must then be stopped, and this be
    /// closed.</exception>
    public async Task OpenAsync(UblkVolume volume, UblkCharDevice charDevice, ublksrv_ctrl_dev_info info, UblkPlan plan)
    {
        for (int i = 0; i < info.nr_hw_queues; i++)
        {
            int queueId = i;
            var member = new Member(reactors.Assign());
            _members.Add(member);
            try
            {
                await member.Reactor.InvokeAsync(() => OpenQueue(member, queueId, volume, charDevice, info, plan)).ConfigureAwait(false);
            }
            catch (IOException e)
            {
                throw new FrontendException($"Queue {queueId} cannot run on {member.Reactor.Name}: {e.Message}", e);
            }
        }
    }

    /// <summary>
    /// Hands every tag of every queue to the driver; finishes when it has them (or has refused them: see <see
    /// cref="WhenFailedAsync"/>).
    /// </summary>
    /// <exception cref="FrontendException">A ring takes no more commands. The device must then be stopped, and this be
    /// closed.</exception>
    public async Task FetchAsync()
    {
        bool[] taken = await Task.WhenAll(_members.Select(m => m.Reactor.InvokeAsync(() => m.Queue!.FetchAll() >= 0))).ConfigureAwait(false);
        if (!taken.All(t => t))
        {
            throw new FrontendException("A reactor's ring takes no more commands: use a smaller --queue-size.");
        }

        // The commands of a turn are submitted at its end, before the next one looks into the mailbox.
        await Task.WhenAll(_members.Select(m => m.Reactor.InvokeAsync(() => { }))).ConfigureAwait(false);
    }

    /// <summary>Finishes when the driver has taken every tag of every queue back.</summary>
    public Task WhenEndedAsync() => Task.WhenAll(_members.Select(m => m.Queue).OfType<UblkQueue>().Where(q => q.HasFetched).Select(q => q.Ended));

    /// <summary>Finishes when the driver has refused a command of some queue.</summary>
    public Task WhenFailedAsync() => Task.WhenAny(_members.Select(m => m.Queue).OfType<UblkQueue>().Select(q => q.Failed));

    /// <summary>The first negative errno with which a command was refused, or 0.</summary>
    public int Failure => _members.Select(m => m.Queue?.Failure ?? 0).FirstOrDefault(f => f != 0);

    /// <summary>Parks new requests; finishes when the volume holds none.</summary>
    public Task DrainAsync() => Task.WhenAll(_members.Select(async m =>
        await (await m.Reactor.InvokeAsync(() => m.Queue!.Drain()).ConfigureAwait(false)).ConfigureAwait(false)));

    /// <summary>Starts what was parked and takes requests again.</summary>
    public Task ResumeAsync() => Task.WhenAll(_members.Select(m => m.Reactor.InvokeAsync(() => m.Queue?.Resume())));

    /// <summary>Sums of all counters.</summary>
    public QueueTotals Totals()
    {
        var totals = default(QueueTotals);
        foreach (Member member in _members)
        {
            member.Queue?.AddTo(ref totals);
        }

        return totals;
    }

    /// <summary>
    /// Lets the queues go while the driver still holds their tags: nothing is in flight, and they take no request any more. Their
    /// buffers stay until the process ends, since the driver may still copy into them.
    /// </summary>
    public async Task AbandonAsync()
    {
        foreach (Member member in _members)
        {
            await member.Reactor.InvokeAsync(() => AbandonQueue(member)).ConfigureAwait(false);
            reactors.Release(member.Reactor);
        }
    }

    /// <summary>Frees the queues. The driver must have taken every tag back.</summary>
    public async Task CloseAsync()
    {
        foreach (Member member in _members)
        {
            await member.Reactor.InvokeAsync(() => CloseQueue(member)).ConfigureAwait(false);
            reactors.Release(member.Reactor);
        }

        _members.Clear();
    }

    private unsafe void OpenQueue(
        Member member, int queueId, UblkVolume volume, UblkCharDevice charDevice, ublksrv_ctrl_dev_info info, UblkPlan plan)
    {
        Reactor reactor = member.Reactor;
        if (reactor.Ring is null)
        {
            throw new IOException($"ublk needs io_uring: {reactor.RingNotice}");
        }

        ThreadsAreIoFlushers &= UblkInterop.MarkThreadAsIoFlusher();
        if (plan.Mode == UblkCopyMode.ZeroCopy)
        {
            member.FirstBuffer = reactor.Ring.Buffers.Reserve(info.queue_depth);
            if (member.FirstBuffer < 0)
            {
                throw new IOException($"its ring has no room for {info.queue_depth} registered buffers (errno {-member.FirstBuffer}): use a smaller --queue-size.");
            }
        }

        member.Device = volume.Device.OpenQueue(reactor);
        var settings = new UblkQueueSettings(
            queueId, info.queue_depth, charDevice.Fd, plan, (int)info.max_io_buf_bytes, volume.Device.Limits.BufferAlignment, member.FirstBuffer, volume.ReadOnly);
        member.Depth = info.queue_depth;
        member.Queue = new UblkQueue(settings, reactor, reactor.Ring, member.Device, charDevice.Descriptors(queueId));
        reactor.Add(member.Queue);
    }

    private static void AbandonQueue(Member member)
    {
        if (member.Queue is not null)
        {
            member.Queue.Abandon();
            member.Reactor.Remove(member.Queue);
        }

        member.Device?.Dispose();
    }

    private static void CloseQueue(Member member)
    {
        if (member.Queue is not null)
        {
            member.Reactor.Remove(member.Queue);
            member.Queue.Dispose();
        }

        member.Device?.Dispose();
        if (member.FirstBuffer >= 0)
        {
            member.Reactor.Ring!.Buffers.Release(member.FirstBuffer, member.Depth);
        }
    }

    private sealed class Member(Reactor reactor)
    {
        public readonly Reactor Reactor = reactor;
        public UblkQueue? Queue;
        public IBlockQueue? Device;
        public int FirstBuffer = -1;
        public int Depth;
    }
}
