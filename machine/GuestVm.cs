// A running guest: QEMU, its console log, and the control channel (GuestChannel).
//
// Theory of operation: QEMU's stdout is the guest's serial console and only a log. What the guest reports (CHECK, SIGNAL, EXIT)
// comes line by line over a virtio-serial port whose other end is a UNIX socket that this side listens on before QEMU starts, so
// that there is nothing to poll for. The same port carries the host's words to the script's await. A guest has ended when its
// EXIT line has come, or when QEMU has; `timeout` stands before QEMU so that a guest that hangs ends some time, and keeps a
// terminal's Ctrl-C from it. A kernel that does not get as far as init, because the emulator has lost itself (both processors
// spin, seen with QEMU 10.0.2), is ended as a fault of the machine; on a host with other work to do it gets more time. Two
// further ports carry lines that the script relays, and an archive of files that it delivers.

using System.Diagnostics;
using System.Formats.Tar;
using System.Globalization;
using System.Net.Sockets;
using System.Text;

namespace Polyblk.Machine;

/// <summary>A guest that was started by <see cref="GuestVmBuilder.Start"/>. Disposing kills it.</summary>
public sealed class GuestVm : IAsyncDisposable
{
    private const string FolderPrefix = "polyblk-guest-";

    private static readonly TimeSpan s_bootStep = TimeSpan.FromMilliseconds(500);

    /// <summary>The first words of init.</summary>
    private const string Booted = "rig: booted";

    private readonly GuestBuilder _builder;
    private readonly OwnedFolder _folder;
    private readonly string? _logPath;
    private readonly Process _qemu;
    private readonly Socket _listener;
    private readonly Socket _outputListener;
    private readonly Task _output;
    private readonly CancellationTokenSource _limit;
    private readonly GuestChannel _control;
    private readonly Task<int> _exit;
    private readonly Task _console;
    private readonly TaskCompletionSource _booted = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private readonly Lock _gate = new();
    private readonly StringBuilder _log = new();
    private bool _disposed;
    private volatile bool _neverBooted;

    private GuestVm(GuestBuilder builder, OwnedFolder folder)
    {
        _builder = builder;
        _folder = folder;
        if (builder.LogFolder is string logs)
        {
            Directory.CreateDirectory(logs);
            _logPath = Path.Combine(logs, $"{builder.Name}-{builder.Image.Name}.log");
        }

        _control = new GuestChannel(line =>
        {
            lock (_gate) _log.AppendLine("control: " + line);
        });
        builder.Initramfs.Write(builder.Image, InitramfsPath);
        ProcessStartInfo command = CommandLine();
        _listener = Listen(ControlPath);
        _outputListener = Listen(OutputPath);
        _qemu = BoundProcess.Start(command);
        _qemu.StandardInput.Close();
        _limit = new CancellationTokenSource(builder.Limit);
        _console = Task.WhenAll(LogAsync(_qemu.StandardOutput), LogAsync(_qemu.StandardError));
        _output = Task.Run(ReadOutputAsync);
        _ = Task.Run(WatchBootAsync);
        _exit = Task.Run(RunControlAsync);
    }

    private string ControlPath => Path.Combine(_folder.Path, "control");
    private string OutputPath => Path.Combine(_folder.Path, "output");
    private string ResultsPath => Path.Combine(_folder.Path, "results");
    private string InitramfsPath => Path.Combine(_folder.Path, "initramfs");

    /// <summary>The process id of QEMU's supervisor; QEMU is its only child.</summary>
    public int ProcessId => _qemu.Id;

    /// <summary>QEMU's own process id, or null when it has ended.</summary>
    public int? QemuProcessId => QemuProgram.ProcessIdBelow(_qemu);

    internal static GuestVm Start(GuestBuilder builder)
    {
        string place = Path.GetTempPath();
        OwnedFolder.RemoveAbandoned(place, FolderPrefix);
        OwnedFolder folder = OwnedFolder.Create(place, FolderPrefix);
        try
        {
            return new GuestVm(builder, folder);
        }
        catch
        {
            folder.Dispose();
            throw;
        }
    }

    /// <summary>Tells the script something: its <c>await NAME</c> returns, with the rest of the line in <c>$said</c>.</summary>
    public Task SendAsync(string line) => _control.SendAsync(line, _limit.Token);

    /// <summary>Waits for the script's <c>signal NAME [TEXT]</c> and returns the text. Each signal is delivered once.</summary>
    /// <exception cref="GuestException">The guest ended without it, or the time is over.</exception>
    public async Task<string> WaitForSignalAsync(string name)
    {
        while (true)
        {
            if (_control.TryTakeSignal(name, out Task changed) is string text) return text;
            if (_exit.IsCompleted)
            {
                // Whether the machine itself broke down is what its end says best.
                if (_exit.IsFaulted) await _exit;
                throw Failure($"The guest ended without the signal '{name}'.");
            }

            await Task.WhenAny(changed, _exit);
        }
    }

    /// <summary>Waits for the script's end and returns what it reported.</summary>
    /// <exception cref="GuestException">The guest ended without finishing the script, or the time is over.</exception>
    public async Task<GuestResult> CompletionAsync()
    {
        int status = await _exit;
        IReadOnlyList<GuestCheck> checks = _control.Checks;
        lock (_gate) return new GuestResult(status, checks, _log.ToString(), _logPath);
    }

    /// <summary>
    /// How the machine itself broke down, or null when it did not: it runs, or its end is the guest's own doing.
    /// </summary>
    /// <param name="grace">How long to wait for its end.</param>
    internal async Task<GuestException?> FaultAsync(TimeSpan grace)
    {
        await Task.WhenAny(_exit, Task.Delay(grace)).ConfigureAwait(false);
        return _exit.IsFaulted && _exit.Exception.InnerException is GuestException { IsMachineFault: true } fault ? fault : null;
    }

    /// <summary>Unpacks what the script delivered into a folder; returns the paths. Ask after the script's end.</summary>
    public async Task<IReadOnlyList<string>> ExtractResultsAsync(string folder, CancellationToken cancellation = default)
    {
        var paths = new List<string>();
        await using FileStream archive = File.OpenRead(ResultsPath);
        if (archive.Length == 0) return paths;
        await using var tar = new TarReader(archive);
        while (await tar.GetNextEntryAsync(cancellationToken: cancellation) is { } entry)
        {
            if (entry.EntryType is not (TarEntryType.RegularFile or TarEntryType.V7RegularFile)) continue;
            string path = Path.Combine(folder, Path.GetFileName(entry.Name));
            await entry.ExtractToFileAsync(path, overwrite: true, cancellation);
            paths.Add(path);
        }

        return paths;
    }

    /// <summary>Kills QEMU if it runs, and removes the guest's files; the log stays where the builder put it.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_disposed) return;
        _disposed = true;
        await StopAsync();
        // The outcome belongs to whoever asked for it; here it only has to be over.
        await ((Task)_exit).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await _control.DisposeAsync();
        _listener.Dispose();
        _outputListener.Dispose();
        _limit.Dispose();
        _qemu.Dispose();
        _folder.Dispose();
    }

    private ProcessStartInfo CommandLine() => QemuProgram.Command(_builder.HostCpus, _builder.Limit,
    [
        .. QemuProgram.Machine(_builder.MemoryBackend, _builder.MemoryMib, _builder.CpuCount),
        "-device", "virtio-serial-pci", "-chardev", $"socket,id=control,path={ControlPath}",
        "-device", "virtserialport,chardev=control,name=rig.control",
        "-chardev", $"socket,id=output,path={OutputPath}", "-device", "virtserialport,chardev=output,name=rig.output",
        "-chardev", $"file,id=results,path={ResultsPath}", "-device", "virtserialport,chardev=results,name=rig.results",
        "-kernel", MachineCache.IsEmulated() ? _builder.Image.UnpackedKernelPath ?? _builder.Image.KernelPath : _builder.Image.KernelPath, "-initrd", InitramfsPath,
        "-append", $"{QemuProgram.KernelArguments}{QemuProgram.ArgumentsOfEmulated()}{_builder.KernelArguments}", .. _builder.QemuArguments,
    ]);

    private static Socket Listen(string path)
    {
        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(path));
        listener.Listen(1);
        return listener;
    }

    /// <summary>The lines that the script relays, until QEMU ends. A QEMU that never connects ends this by its end.</summary>
    private async Task ReadOutputAsync()
    {
        Task<Socket> accept = _outputListener.AcceptAsync(_limit.Token).AsTask();
        if (await Task.WhenAny(accept, _qemu.WaitForExitAsync(CancellationToken.None)) != accept || accept.IsCanceled) return;
        using var stream = new NetworkStream(await accept, ownsSocket: true);
        using var reader = new StreamReader(stream, Encoding.UTF8);
        try
        {
            while (await reader.ReadLineAsync() is { } line) _builder.OnOutput?.Invoke(line);
        }
        catch (IOException)
        {
            return; // QEMU was killed: whoever waits for the guest learns it from the control channel
        }
    }

    private async Task LogAsync(StreamReader reader)
    {
        while (await reader.ReadLineAsync() is { } line)
        {
            lock (_gate) _log.AppendLine(line);
            if (line.Contains(Booted, StringComparison.Ordinal)) _booted.TrySetResult();
        }

        // QEMU has ended: there is nothing to watch any more.
        _booted.TrySetResult();
    }

    private async Task WatchBootAsync()
    {
        var clock = Stopwatch.StartNew();
        while (!QemuProgram.IsOver(_builder.BootLimit, QemuProgram.ProcessorTime(QemuProcessId), clock.Elapsed))
        {
            if (await Task.WhenAny(_booted.Task, Task.Delay(s_bootStep)) == _booted.Task) return;
        }

        if (_booted.Task.IsCompleted) return;
        _neverBooted = true;
        _qemu.Kill(entireProcessTree: true);
    }

    /// <summary>The guest's life as seen from the control channel; returns the script's status.</summary>
    private async Task<int> RunControlAsync()
    {
        int? status;
        try
        {
            status = await ReadControlAsync();
        }
        catch (Exception error) when (error is OperationCanceledException or IOException)
        {
            status = null; // out of time, or QEMU's end of the socket broke: said below
        }
        finally
        {
            await StopAsync();
            if (_logPath is not null)
                lock (_gate) File.WriteAllText(_logPath, _log.ToString());
        }

        if (status is int ended) return ended;
        if (_neverBooted) throw Failure($"The guest's kernel had not come to init after {_builder.BootLimit.TotalSeconds:F0} s.", isMachineFault: true);
        if (_limit.IsCancellationRequested) throw Failure($"The guest was not done after {_builder.Limit.TotalSeconds:F0} s.");
        string what = $"The guest ended before its script did (QEMU's status {_qemu.ExitCode}).";
        string console;
        lock (_gate) console = _log.ToString();
        throw Failure(what, isMachineFault: QemuProgram.IsBreakdown(_qemu.ExitCode, console));
    }

    private async Task<int?> ReadControlAsync()
    {
        // QEMU may end before it connects (a bad argument, a backend that is not there): stop waiting then.
        Task<Socket> accept = _listener.AcceptAsync(_limit.Token).AsTask();
        if (await Task.WhenAny(accept, _qemu.WaitForExitAsync(_limit.Token)) != accept) return null;
        return await _control.ReadAsync(new NetworkStream(await accept, ownsSocket: true), _limit.Token);
    }

    private async Task StopAsync()
    {
        if (!_qemu.HasExited) _qemu.Kill(entireProcessTree: true);
        await _qemu.WaitForExitAsync();
        await _console;
        await _output;
        _control.End();
    }

    private GuestException Failure(string what, bool isMachineFault = false)
    {
        lock (_gate) return new GuestException(GuestResult.Explain(what, _log.ToString(), _logPath)) { IsMachineFault = isMachineFault };
    }
}
