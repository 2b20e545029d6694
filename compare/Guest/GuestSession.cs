// The machine of the guest vantage: one for the whole comparison, with a disk for each method.
//
// One boot instead of one for each method, so that the methods take turns within the same machine, minutes and neighbours, like those of
// the host. The first method that is asked to start starts the targets of all, then the machine with all their disks; what fails to start
// becomes that method's reason. The last method that is taken down ends the machine, then the targets. What the machine boots is another
// question (IGuestSystem).
//
// The drives of a volume of the user's belong to one server at a time. Each server then has a session of its own: its machine ends with the
// server's turn and boots again, with the same disks in the same places, with the next one.

using Polyblk.Compare.Methods;
using Polyblk.Machine;

namespace Polyblk.Compare.Guest;

/// <summary>See the top of the file.</summary>
/// <param name="system">What the machine boots.</param>
public sealed class GuestSession(IGuestSystem system) : IGuestMachine
{
    private const int MaxBoots = 3;

    private readonly List<GuestMethod> _methods = [];
    private readonly Dictionary<GuestMethod, Target> _targets = [];
    private IReadOnlyList<int> _cpus = [];
    private IBootedGuest? _machine;
    private MethodException? _failure;
    private bool _isStarted;
    private int _users;

    /// <inheritdoc/>
    public string FioVersion { get; private set; } = "fio";

    /// <inheritdoc/>
    public IReadOnlyList<int> ProcessIds => _machine?.ProcessIds ?? [];

    /// <summary>What the machine booted; null before one ran.</summary>
    public string? System { get; private set; }

    /// <summary>Whether there is what a machine needs.</summary>
    public MethodAvailability Check() => system.Check();

    internal void Add(GuestMethod method) => _methods.Add(method);

    /// <summary>What serves a method in the machine.</summary>
    /// <exception cref="MethodException">It does not.</exception>
    internal async Task<Target> TakeAsync(GuestMethod method, ScratchSpace scratch, CancellationToken cancellation)
    {
        if (!_isStarted)
        {
            _isStarted = true;
            try
            {
                await StartAsync(scratch, cancellation).ConfigureAwait(false);
            }
            catch
            {
                await EndAsync().ConfigureAwait(false);
                throw;
            }
        }

        Target target = _targets[method];
        if ((target.Failure ?? _failure) is MethodException failure)
        {
            throw failure;
        }

        _users++;
        return target;
    }

    /// <summary>A method is done; the last one ends everything.</summary>
    internal async ValueTask LeaveAsync()
    {
        if (--_users == 0)
        {
            await EndAsync().ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    public Task<GuestCommandResult> RunAsync(string script, Action onMark, CancellationToken cancellation) =>
        (_machine ?? throw new MethodException("the virtual machine has ended")).RunAsync(script, onMark, cancellation);

    /// <summary>Ends the machine until <see cref="ResumeAsync"/>; the targets are their methods' business.</summary>
    internal async Task SuspendAsync()
    {
        if (_machine is not null)
        {
            await _machine.DisposeAsync().ConfigureAwait(false);
            _machine = null;
        }
    }

    /// <summary>Boots the machine again with all its disks, unless it runs. All targets serve.</summary>
    /// <exception cref="MethodException">It does not boot.</exception>
    internal async Task ResumeAsync(CancellationToken cancellation)
    {
        if (_machine is not null)
        {
            return;
        }

        try
        {
            await BootAsync(cancellation).ConfigureAwait(false);
        }
        catch (Exception e) when (e is GuestException or MachineException or IOException)
        {
            throw new MethodException($"the virtual machine did not start: {e.Message}", e);
        }
    }

    private async Task StartAsync(ScratchSpace scratch, CancellationToken cancellation)
    {
        foreach (GuestMethod method in _methods)
        {
            _targets[method] = await StartTargetAsync(method, scratch, cancellation).ConfigureAwait(false);
        }

        try
        {
            _cpus = scratch.LoadCpus;
            IBootedGuest machine = await BootAsync(cancellation).ConfigureAwait(false);
            foreach ((GuestMethod method, Target target) in _targets.Where(t => machine.MissingSlots.Contains(t.Value.Slot)).ToArray())
            {
                _targets[method] = target with { Failure = new MethodException("the virtual machine does not see the disk") };
            }

            (FioVersion, System) = (machine.FioVersion, machine.System);
        }
        catch (Exception e) when (e is GuestException or MachineException or MethodException or IOException)
        {
            _failure = new MethodException($"the virtual machine did not start: {e.Message}", e);
        }
    }

    /// <summary>The disks of all targets that serve, always in the same places.</summary>
    private List<GuestDisk> TakeSlots()
    {
        var disks = new List<GuestDisk>();
        foreach (GuestMethod method in _methods.Where(m => _targets[m].Running is not null))
        {
            Target target = _targets[method];
            try
            {
                _targets[method] = target with { Slot = GuestDisk.SlotOf(disks.Count) };
                disks.Add(method.Attach(target.Running!.Endpoint));
            }
            catch (InvalidOperationException e)
            {
                _targets[method] = target with { Failure = new MethodException(e.Message, e) };
            }
        }

        return disks;
    }

    /// <summary>Boots the machine, again when the emulator breaks down on the way (<see cref="GuestException.IsMachineFault"/>).</summary>
    private async Task<IBootedGuest> BootAsync(CancellationToken cancellation)
    {
        List<GuestDisk> disks = TakeSlots();
        for (int attempt = 1; ; attempt++)
        {
            try
            {
                return _machine = await system.BootAsync(disks, _cpus, cancellation).ConfigureAwait(false);
            }
            catch (GuestException e) when (e.IsMachineFault && attempt < MaxBoots)
            {
                // It says nothing about what runs in the machine.
                continue;
            }
        }
    }

    private static async Task<Target> StartTargetAsync(GuestMethod method, ScratchSpace scratch, CancellationToken cancellation)
    {
        if (!method.Check().CanRun)
        {
            return new Target(null, "", new MethodException("it cannot run here"));
        }

        IRunningMethod? running = null;
        try
        {
            running = await method.Inner.StartAsync(scratch, cancellation).ConfigureAwait(false);
            return new Target(running, "", null);
        }
        catch (Exception e) when (e is MethodException or IOException or InvalidOperationException)
        {
            return new Target(running, "", e as MethodException ?? new MethodException(e.Message, e));
        }
    }

    private async ValueTask EndAsync()
    {
        if (_machine is not null)
        {
            await _machine.DisposeAsync().ConfigureAwait(false);
            _machine = null;
        }

        foreach (Target target in _targets.Values.Where(t => t.Running is not null).Reverse())
        {
            await target.Running!.DisposeAsync().ConfigureAwait(false);
        }

        _targets.Clear();
    }

    /// <summary>What serves a method: the target on this host and its slot in the machine, or why there is none.</summary>
    internal sealed record Target(IRunningMethod? Running, string Slot, MethodException? Failure);
}
