// The programs that are measured. A target is started once, listens on a Unix socket as a vhost-user back-end, and stays up while
// the runs alternate over all targets; its processor is its own (taskset), the load's is another.

using System.Diagnostics;

namespace Polyblk.Bench;

/// <summary>A vhost-user back-end under test.</summary>
internal abstract class Target(string name, string device) : IDisposable
{
    private Process? _process;
    private string _log = string.Empty;

    /// <summary>The program: <c>polyblk</c>, <c>qsd</c>.</summary>
    public string Name { get; protected init; } = name;

    /// <summary>What it serves; results are compared among targets and devices of one case.</summary>
    public string Device { get; } = device;

    /// <summary>Name and device.</summary>
    public string Label => $"{Name} {Device}";

    /// <summary>Where it listens.</summary>
    public string Socket { get; private set; } = string.Empty;

    /// <summary>The command line, for the report.</summary>
    public string Command { get; private set; } = string.Empty;

    /// <summary>Its process id.</summary>
    public int Pid => _process!.Id;

    /// <summary>Starts it and waits for its socket.</summary>
    public void Start(BenchPaths paths, string cpus)
    {
        Socket = Path.Combine(paths.Work, $"{Guid.NewGuid():N}"[..12] + ".sock");
        string[] arguments = ["-c", cpus, .. BuildCommand(paths, cpus)];
        Command = "taskset " + string.Join(' ', arguments);
        var start = new ProcessStartInfo("taskset", arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        _process = Process.Start(start)!;
        _process.OutputDataReceived += (_, e) => Remember(e.Data);
        _process.ErrorDataReceived += (_, e) => Remember(e.Data);
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
        for (long deadline = Environment.TickCount64 + 60_000; !File.Exists(Socket);)
        {
            if (_process.HasExited || Environment.TickCount64 > deadline)
            {
                throw new InvalidOperationException($"{Label} did not start.\n{Command}\n{_log}");
            }

            Thread.Sleep(50);
        }
    }

    /// <summary>Processor time that it used so far, in seconds.</summary>
    public double CpuSeconds()
    {
        _process!.Refresh();
        return _process.TotalProcessorTime.TotalSeconds;
    }

    /// <inheritdoc/>
    public virtual void Dispose()
    {
        if (_process is { HasExited: false })
        {
            Process.Start("kill", ["-TERM", $"{_process.Id}"]).WaitForExit();
            if (!_process.WaitForExit(10_000))
            {
                _process.Kill(entireProcessTree: true);
            }
        }

        _process?.Dispose();
    }

    /// <summary>The command that serves the device on <see cref="Socket"/>.</summary>
    protected abstract IReadOnlyList<string> BuildCommand(BenchPaths paths, string cpus);

    private void Remember(string? line)
    {
        if (line is not null && _log.Length < 20_000)
        {
            _log += line + "\n";
        }
    }
}

/// <summary>polyblk with a volume that it makes for the purpose.</summary>
internal sealed class PolyblkTarget(string device, string level, IReadOnlyList<string> drives, params string[] options)
    : Target("polyblk", device)
{
    private readonly string _volume = $"bench-{Guid.NewGuid():N}"[..14];
    private string _state = string.Empty;
    private string? _program;

    /// <summary>The same device, served by another build of the program.</summary>
    /// <param name="name">What the build is called in the tables.</param>
    /// <param name="program">The file to run instead of this tree's <c>polyblk</c>.</param>
    public PolyblkTarget ByAnother(string name, string program) =>
        new(Device, level, drives, options) { Name = name, _program = program };

    /// <inheritdoc/>
    protected override IReadOnlyList<string> BuildCommand(BenchPaths paths, string cpus)
    {
        _state = Path.Combine(paths.Work, "state-" + _volume);
        string program = _program ?? paths.Polyblk;
        BenchPaths.Run(program, ["volume", "create", _volume, "--level", level, "--force", "--state", _state, .. drives]);
        return
        [
            program, "serve", _volume, "--state", _state, "--reactors", cpus, "--idle", "latency",
            "--frontend", "vhost-user", "--socket", Socket, "--queues", "2", "--queue-size", "256", .. options,
        ];
    }
}

/// <summary>qemu-storage-daemon with one iothread.</summary>
internal sealed class QsdTarget(string device, string blockdev) : Target("qsd", device)
{
    /// <inheritdoc/>
    protected override IReadOnlyList<string> BuildCommand(BenchPaths paths, string cpus) =>
    [
        "qemu-storage-daemon", "--object", "iothread,id=io0,poll-max-ns=1000000", "--blockdev", $"node-name=disk0,{blockdev}",
        "--export", $"type=vhost-user-blk,id=exp0,node-name=disk0,addr.type=unix,addr.path={Socket},writable=on,num-queues=2,iothread=io0",
    ];
}
