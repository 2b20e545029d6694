// The machine of the guest vantage: one for the whole comparison, with a disk for each method.
//
// One boot instead of one for each method, so that the methods take turns within the same machine, minutes and neighbours, like those of
// the host. The first method that is asked to start starts the targets of all, then the machine with all their disks; what fails to start
// becomes that method's reason. The last method that is taken down ends the machine, then the targets. In the machine a loop runs the
// scripts that this side sends over the control channel, one at a time, and sends back what they print.
//
// The drives of a volume of the user's belong to one server at a time. Each server then has a session of its own: its machine ends with the
// server's turn and boots again, with the same disks in the same places, with the next one.

using System.Globalization;
using System.IO.Compression;
using System.Text;
using Polyblk.Compare.Methods;
using Polyblk.Core.Interop;
using Polyblk.Machine;

namespace Polyblk.Compare.Guest;

/// <summary>See the top of the file.</summary>
/// <param name="builder">Makes a machine without disks and script.</param>
public sealed class GuestSession(Func<GuestBuilder> builder) : IGuestMachine
{
    private const int MaxBoots = 3;

    private static readonly string[] s_fileSystemPrograms = ["mkfs.ext4", "mkfs.xfs"];

    private readonly List<GuestMethod> _methods = [];
    private readonly Dictionary<GuestMethod, Target> _targets = [];
    private IReadOnlyList<int> _cpus = [];
    private GuestVm? _machine;
    private MethodException? _failure;
    private bool _isStarted;
    private int _users;
    private int _scripts;

    /// <inheritdoc/>
    public string FioVersion { get; private set; } = "fio";

    /// <inheritdoc/>
    public IReadOnlyList<int> ProcessIds => _machine?.QemuProcessId is int pid ? [pid] : [];

    /// <summary>Whether there is what a machine needs.</summary>
    public static MethodAvailability Check()
    {
        (string Program, string Package)[] needed = [("qemu-system-x86_64", "qemu-system-x86"), ("fio", "fio")];
        string[] missing = [.. needed.Where(n => ProgramPath.TryFind(n.Program) is null).Select(n => n.Package)];
        return missing.Length == 0 ? MethodAvailability.Yes
            : new MethodAvailability(false, $"{string.Join(" and ", missing)} is not installed", [$"apt-get install {string.Join(' ', missing)}"]);
    }

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
    public async Task<GuestCommandResult> RunAsync(string script, Action onMark, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(onMark);
        GuestVm machine = _machine ?? throw new MethodException("the virtual machine has ended");
        // A mark of an earlier script may come late.
        string mark = string.Create(CultureInfo.InvariantCulture, $"mark{++_scripts}");
        string prelude = $"mark() {{ printf 'SIGNAL {mark}\n' >&3; }}\n";
        try
        {
            await machine.SendAsync($"run {Convert.ToBase64String(Encoding.UTF8.GetBytes(prelude + script))}").ConfigureAwait(false);
            Task<string> finished = machine.WaitForSignalAsync("done");
            Task<string> marked = machine.WaitForSignalAsync(mark);
            if (await Task.WhenAny(finished, marked).WaitAsync(cancellation).ConfigureAwait(false) == marked)
            {
                await marked.ConfigureAwait(false);
                onMark();
            }

            string[] done = (await finished.WaitAsync(cancellation).ConfigureAwait(false)).Split(' ');
            return new GuestCommandResult(int.Parse(done[0], CultureInfo.InvariantCulture), Unpack(done[1]), Unpack(done[2]).Trim());
        }
        catch (Exception e) when (e is GuestException or IOException)
        {
            throw new MethodException($"the virtual machine failed: {e.Message}", e);
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
            await BootAsync(NewMachine(), cancellation).ConfigureAwait(false);
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
            string[] missing = (await BootAsync(NewMachine(), cancellation).ConfigureAwait(false)).Split(' ', StringSplitOptions.RemoveEmptyEntries);
            foreach ((GuestMethod method, Target target) in _targets.Where(t => missing.Contains(t.Value.Slot)).ToArray())
            {
                _targets[method] = target with { Failure = new MethodException("the virtual machine does not see the disk") };
            }

            FioVersion = (await RunAsync("fio --version", () => { }, cancellation).ConfigureAwait(false)).Output.Trim();
        }
        catch (Exception e) when (e is GuestException or MachineException or MethodException or IOException)
        {
            _failure = new MethodException($"the virtual machine did not start: {e.Message}", e);
        }
    }

    /// <summary>A machine with the disks of all targets that serve, always in the same places.</summary>
    private GuestBuilder NewMachine()
    {
        GuestBuilder machine = builder().Programs("fio").Programs([.. s_fileSystemPrograms.Where(p => ProgramPath.TryFind(p) is not null)]).PinTo(_cpus);
        var slots = new List<string>();
        foreach (GuestMethod method in _methods.Where(m => _targets[m].Running is not null))
        {
            Target target = _targets[method];
            try
            {
                slots.Add(machine.Disk(method.Attach(target.Running!.Endpoint)));
                _targets[method] = target with { Slot = slots[^1] };
            }
            catch (InvalidOperationException e)
            {
                _targets[method] = target with { Failure = new MethodException(e.Message, e) };
            }
        }

        return machine.Script(Loop(slots));
    }

    /// <summary>Boots the machine, again when the emulator breaks down on the way (<see cref="GuestException.IsMachineFault"/>); returns what it says when it is ready.</summary>
    private async Task<string> BootAsync(GuestBuilder machine, CancellationToken cancellation)
    {
        for (int attempt = 1; ; attempt++)
        {
            _machine = machine.Start();
            try
            {
                return await _machine.WaitForSignalAsync("ready").WaitAsync(cancellation).ConfigureAwait(false);
            }
            catch (GuestException e) when (e.IsMachineFault && attempt < MaxBoots)
            {
                await _machine.DisposeAsync().ConfigureAwait(false);
                _machine = null;
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

    /// <summary>The machine's side. Results are packed: the channel is slow where the machine is emulated.</summary>
    private static string Loop(IEnumerable<string> slots) => $$"""
        modprobe virtio_blk; modprobe ext4 2>/dev/null; modprobe xfs 2>/dev/null
        missing=
        for slot in {{string.Join(' ', slots)}}; do
          device=$(disk $slot) && ln -s $device /dev/slot$slot || missing="$missing $slot"
        done
        signal ready $missing
        while await run; do
          echo "$said" | base64 -d >/tmp/script
          sh /tmp/script >/tmp/output 2>/tmp/errors </dev/null
          status=$?
          tail -c 2000 /tmp/errors >/tmp/last
          printf 'SIGNAL done %s %s %s\n' $status "$(gzip -c /tmp/output | base64 -w 0)" "$(gzip -c /tmp/last | base64 -w 0)" >&3
        done
        poweroff -f
        """;

    private static string Unpack(string packed)
    {
        using var gzip = new GZipStream(new MemoryStream(Convert.FromBase64String(packed)), CompressionMode.Decompress);
        using var reader = new StreamReader(gzip, Encoding.UTF8);
        return reader.ReadToEnd();
    }

    /// <summary>What serves a method: the target on this host and its slot in the machine, or why there is none.</summary>
    internal sealed record Target(IRunningMethod? Running, string Slot, MethodException? Failure);
}
