// The machine of the guest vantage: one for the whole comparison, with a disk for each method.
//
// One boot instead of one for each method, so that the methods take turns within the same machine, minutes and neighbours, like
// those of the host. The first method that is asked to start starts the targets of all, then the machine with all their disks;
// what fails to start becomes that method's reason. When all have been asked and the last one is taken down, the machine is
// ended, then the targets. What the machine boots is another question (IGuestSystem).
//
// A script that does not end within its limit costs its method alone: in the machine its requests can neither be ended nor taken
// back, so the others go on in a new machine, which has no disk of that method. A machine that breaks down is booted again with
// all disks; it is the fault of a method when it happens to it a second time.
//
// The drives of a volume of the user's belong to one server at a time. Each server then has a session of its own: its machine
// ends with the server's turn and boots again with the next one.

using Polyblk.Compare.Load;
using Polyblk.Compare.Methods;
using Polyblk.Machine;

namespace Polyblk.Compare.Guest;

/// <summary>See the top of the file.</summary>
/// <param name="system">What the machine boots.</param>
public sealed class GuestSession(IGuestSystem system)
{
    private const int MaxBoots = 3;

    private readonly List<GuestMethod> _methods = [];
    private readonly HashSet<GuestMethod> _toCome = [];
    private readonly HashSet<GuestMethod> _hasBroken = [];
    private readonly Dictionary<GuestMethod, Target> _targets = [];
    private IReadOnlyList<int> _cpus = [];
    private IBootedGuest? _machine;
    private MethodException? _failure;
    private bool _isStarted;
    private int _users;
    private string _fioVersion = "fio";

    /// <summary>What the machine booted; null before one ran.</summary>
    public string? System { get; private set; }

    /// <summary>The processes of this host that are the machine.</summary>
    internal IReadOnlyList<int> ProcessIds => _machine?.ProcessIds ?? [];

    /// <summary>What the machine was started with: the arguments that its processes have, read while they run.</summary>
    internal IReadOnlyList<string> BootCommands { get; private set; } = [];

    /// <summary>Whether there is what a machine needs.</summary>
    public MethodAvailability Check() => system.Check();

    internal void Add(GuestMethod method)
    {
        _methods.Add(method);
        _toCome.Add(method);
    }

    /// <summary>The machine as a method uses it.</summary>
    internal IGuestMachine SeatOf(GuestMethod method) => new Seat(this, method);

    /// <summary>A method's disk in the machine that runs now.</summary>
    internal string DeviceOf(GuestMethod method) => IGuestSystem.DeviceOf(_targets[method].Slot);

    /// <summary>What serves a method in the machine.</summary>
    /// <exception cref="MethodException">It does not.</exception>
    internal async Task<Target> TakeAsync(GuestMethod method, ScratchSpace scratch, CancellationToken cancellation)
    {
        _toCome.Remove(method);
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

    /// <summary>A method is done.</summary>
    internal ValueTask LeaveAsync()
    {
        _users--;
        return EndUnusedAsync();
    }

    /// <summary>A method that has not been started will not be.</summary>
    internal async Task ForgetAsync(GuestMethod method)
    {
        if (_toCome.Remove(method))
        {
            await EndUnusedAsync().ConfigureAwait(false);
        }
    }

    /// <summary>Ends the machine until <see cref="ResumeAsync"/>; the targets are their methods' business.</summary>
    internal async Task SuspendAsync()
    {
        if (_machine is not null)
        {
            await _machine.DisposeAsync().ConfigureAwait(false);
            _machine = null;
        }
    }

    /// <summary>Boots the machine again, unless it runs, with the disks of all methods that still serve.</summary>
    /// <exception cref="MethodException">It does not boot.</exception>
    internal async Task ResumeAsync(CancellationToken cancellation)
    {
        if (_machine is not null || !_targets.Values.Any(t => t.Serves))
        {
            return;
        }

        try
        {
            await BootAsync(cancellation).ConfigureAwait(false);
        }
        catch (Exception e) when (e is GuestException or MachineException or MethodException or IOException)
        {
            throw new MethodException($"the virtual machine did not start: {e.Message}", e);
        }
    }

    private async Task<GuestCommandResult> RunAsync(GuestMethod method, string script, TimeSpan limit, Action onMark, CancellationToken cancellation)
    {
        IBootedGuest machine = _machine ?? throw _failure ?? new MethodException("the virtual machine has ended");
        try
        {
            return await machine.RunAsync(script, limit, onMark, cancellation).ConfigureAwait(false);
        }
        catch (MethodException e)
        {
            bool isFinal = e.IsFinal || !_hasBroken.Add(method);
            var failure = new MethodException(e.Message, e) { IsFinal = isFinal, IsOfTheLoad = !isFinal };
            if (isFinal)
            {
                _targets[method] = _targets[method] with { Failure = failure };
            }

            await ReplaceMachineAsync(cancellation).ConfigureAwait(false);
            throw failure;
        }
    }

    private async Task ReplaceMachineAsync(CancellationToken cancellation)
    {
        try
        {
            await SuspendAsync().ConfigureAwait(false);
            await ResumeAsync(cancellation).ConfigureAwait(false);
        }
        catch (MethodException e)
        {
            // Every method of this machine learns it when it is asked next.
            _failure = new MethodException(e.Message, e) { IsFinal = true };
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
            await BootAsync(cancellation).ConfigureAwait(false);
        }
        catch (Exception e) when (e is GuestException or MachineException or MethodException or IOException)
        {
            _failure = new MethodException($"the virtual machine did not start: {e.Message}", e) { IsFinal = true };
        }
    }

    /// <summary>The disks of all targets that serve.</summary>
    private List<GuestDisk> TakeSlots()
    {
        var disks = new List<GuestDisk>();
        foreach (GuestMethod method in _methods.Where(m => _targets[m].Serves))
        {
            Target target = _targets[method];
            try
            {
                _targets[method] = target with { Slot = GuestDisk.SlotOf(disks.Count) };
                disks.Add(method.Attach(target.Running!.Endpoint));
            }
            catch (InvalidOperationException e)
            {
                _targets[method] = target with { Failure = new MethodException(e.Message, e) { IsFinal = true } };
            }
        }

        return disks;
    }

    /// <summary>
    /// Boots the machine, again when the emulator breaks down on the way (<see cref="GuestException.IsMachineFault"/>).
    /// </summary>
    private async Task BootAsync(CancellationToken cancellation)
    {
        List<GuestDisk> disks = TakeSlots();
        for (int attempt = 1; _machine is null; attempt++)
        {
            try
            {
                _machine = await system.BootAsync(disks, _cpus, cancellation).ConfigureAwait(false);
            }
            catch (GuestException e) when (e.IsMachineFault && attempt < MaxBoots)
            {
                // It says nothing about what runs in the machine.
                continue;
            }
        }

        (_fioVersion, System) = (_machine.FioVersion, _machine.System);
        BootCommands = _machine.ProcessIds is { Count: > 0 } pids ? [.. pids.Select(pid => CommandOf(pid, _cpus))] : ["# QEMU's command line could not be read"];
        foreach ((GuestMethod method, Target target) in _targets.Where(t => t.Value.Serves && _machine.MissingSlots.Contains(t.Value.Slot)).ToArray())
        {
            _targets[method] = target with { Failure = new MethodException("the virtual machine does not see the disk") { IsFinal = true } };
        }
    }

    /// <summary>The command of a process (proc(5), /proc/pid/cmdline), pinned as it is.</summary>
    private static string CommandOf(int pid, IReadOnlyList<int> cpus)
    {
        string[] words = File.ReadAllText($"/proc/{pid}/cmdline").TrimEnd('\0').Split('\0');
        return ShellLine.Of([.. cpus.Count > 0 ? new[] { "taskset", "-c", string.Join(',', cpus) } : [], .. words]);
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

    /// <summary>Ends everything when no method uses it and none will.</summary>
    private async ValueTask EndUnusedAsync()
    {
        if (_users == 0 && _toCome.Count == 0)
        {
            await EndAsync().ConfigureAwait(false);
        }
    }

    private async ValueTask EndAsync()
    {
        await SuspendAsync().ConfigureAwait(false);
        MethodException? failure = null;
        foreach (Target target in _targets.Values.Where(t => t.Running is not null).Reverse())
        {
            try
            {
                await target.Running!.DisposeAsync().ConfigureAwait(false);
            }
            catch (MethodException e)
            {
                // One device that the kernel keeps does not keep the other targets up.
                failure ??= e;
            }
        }

        _targets.Clear();
        if (failure is not null)
        {
            throw failure;
        }
    }

    /// <summary>What serves a method: the target on this host and its slot in the machine, or why there is none.</summary>
    internal sealed record Target(IRunningMethod? Running, string Slot, MethodException? Failure)
    {
        public bool Serves => Running is not null && Failure is null;
    }

    private sealed class Seat(GuestSession session, GuestMethod method) : IGuestMachine
    {
        public string FioVersion => session._fioVersion;

        public IReadOnlyList<int> ProcessIds => session.ProcessIds;

        public Task<GuestCommandResult> RunAsync(string script, TimeSpan limit, Action onMark, CancellationToken cancellation) =>
            session.RunAsync(method, script, limit, onMark, cancellation);
    }
}
