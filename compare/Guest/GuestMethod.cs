using Polyblk.Compare.Load;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Results;
using Polyblk.Machine;

namespace Polyblk.Compare.Guest;

/// <summary>
/// A method seen from inside a virtual machine: a target on this host, and the disk that the machine gets from it.
/// </summary>
public sealed class GuestMethod : IDeliveryMethod
{
    private readonly GuestSession _session;
    private readonly Func<MethodAvailability> _check;

    /// <param name="session">The machine.</param>
    /// <param name="facts">What is known of it.</param>
    /// <param name="inner">Starts the target.</param>
    /// <param name="attach">From where the target is reached to the machine's disk.</param>
    /// <param name="check">Whether the target can run here, where that is another question than for the host; null asks the inner
    /// method.</param>
    public GuestMethod(GuestSession session, MethodFacts facts, IDeliveryMethod inner, Func<LoadEndpoint, GuestDisk> attach, Func<MethodAvailability>? check = null)
    {
        ArgumentNullException.ThrowIfNull(session);
        (_session, Facts, Inner, Attach) = (session, facts, inner, attach);
        _check = check ?? inner.Check;
    }

    public MethodFacts Facts { get; }

    /// <inheritdoc/>
    public string Name => $"{Facts.Title} (VM)";

    public string Description { get => field ?? $"{Inner.Description}; a disk of the virtual machine"; init; }

    /// <inheritdoc/>
    public object Drives => Inner.Drives;

    internal IDeliveryMethod Inner { get; }

    internal Func<LoadEndpoint, GuestDisk> Attach { get; }

    /// <summary>What the machine that it was measured in booted; null before one ran.</summary>
    public string? System => _session.System;

    public MethodAvailability Check() => _session.Check() is { CanRun: false } missing ? missing : _check();

    /// <summary>Has a disk of it in the machine. Every method that will be started joins before any is.</summary>
    public void Join() => _session.Add(this);

    /// <inheritdoc/>
    public Task AbandonAsync(ScratchSpace scratch) => _session.ForgetAsync(this);

    /// <summary>
    /// In a comparison of a volume of the user's, the turn of its server; the machine then has the disks of that server's methods
    /// alone.
    /// </summary>
    public object? TurnIn(ScratchSpace scratch) => Inner.TurnIn(scratch);

    public async Task<IRunningMethod> StartAsync(ScratchSpace scratch, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(scratch);
        GuestSession.Target target = await _session.TakeAsync(this, scratch, cancellation).ConfigureAwait(false);
        IRunningMethod running = target.Running!;
        string[] commands = [.. running.Commands, .. _session.BootCommands, $"# in the virtual machine, where {_session.DeviceOf(this)} is the disk with addr={target.Slot}:"];
        return new Running(this, running, scratch, commands);
    }

    private sealed class Running(GuestMethod method, IRunningMethod target, ScratchSpace scratch, IReadOnlyList<string> commands) : IRunningMethod
    {
        private readonly GuestSession _session = method._session;
        private bool _hasLeft;

        public LoadEndpoint Endpoint => new GuestEndpoint(_session.SeatOf(method), _session.DeviceOf(method), target.Endpoint.SizeBytes) { Kept = scratch.Volume?.Kept };

        public IReadOnlyList<int> ProcessIds => target.ProcessIds;

        public IReadOnlyList<int> LoadProcessIds => _session.ProcessIds;

        public IReadOnlyList<string> Commands => commands;

        public string? WhyEnded => target.WhyEnded;

        public long? ReadNotifications() => target.ReadNotifications();

        public async Task SuspendAsync()
        {
            await _session.SuspendAsync().ConfigureAwait(false);
            await target.SuspendAsync().ConfigureAwait(false);
        }

        public async Task ResumeAsync(CancellationToken cancellation)
        {
            await target.ResumeAsync(cancellation).ConfigureAwait(false);
            await _session.ResumeAsync(cancellation).ConfigureAwait(false);
        }

        public async ValueTask DisposeAsync()
        {
            if (!_hasLeft)
            {
                _hasLeft = true;
                await _session.LeaveAsync().ConfigureAwait(false);
            }
        }
    }
}
