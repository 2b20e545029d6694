// A qemu-storage-daemon with one file and one export. Its I/O mode is the fastest that the file system takes.

using Polyblk.Compare.Load;
using Polyblk.Core.Interop;

namespace Polyblk.Compare.Methods;

/// <summary>The daemon, started and, for a restart test, killed and started again.</summary>
/// <param name="file">The file that it serves.</param>
/// <param name="exports">Its options of what is exported, and how it is reached.</param>
/// <param name="isReady">Whether it serves.</param>
internal sealed class StorageDaemonProcess(string file, IReadOnlyList<string> exports, IReadOnlyList<int> cpus, Func<bool> isReady) : IAsyncDisposable
{
    public const string Program = "qemu-storage-daemon";

    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(1);
    private static readonly string[] s_modes = ["aio=io_uring,cache.direct=on", "aio=io_uring", "aio=threads"];

    private ChildProcess? _child;
    private string? _mode;

    public IReadOnlyList<int> ProcessIds => _child is null ? [] : [_child.Id];

    /// <inheritdoc cref="IRunningMethod.WhyEnded"/>
    public string? WhyEnded => _child?.WhyEnded;

    public string CommandLine { get; private set; } = string.Empty;

    /// <summary>Told the command before it is started.</summary>
    public Action<IReadOnlyList<string>>? OnStart { get; init; }

    /// <summary>Whether it is installed.</summary>
    public static MethodAvailability CheckHost() => ProgramPath.TryFind(Program) is not null
        ? MethodAvailability.Yes
        : new MethodAvailability(false, $"{Program} is not installed", ["apt-get install qemu-system-common  # or qemu-utils, where your distribution keeps qemu-storage-daemon"]);

    /// <summary>Starts it with the first mode that works, or again with the one that did.</summary>
    /// <exception cref="MethodException">It does not start.</exception>
    public async Task StartAsync(CancellationToken cancellation)
    {
        string trouble = string.Empty;
        foreach (string mode in _mode is null ? s_modes : [_mode])
        {
            OnStart?.Invoke(Command(mode));
            ChildProcess child = ChildProcess.Start(Command(mode), cpus);
            if (await WaitAsync(child, cancellation).ConfigureAwait(false))
            {
                (_child, _mode, CommandLine) = (child, mode, child.CommandLine);
                return;
            }

            trouble = child.LastErrors;
            await child.DisposeAsync().ConfigureAwait(false);
        }

        throw new MethodException($"{Program} did not start: {trouble}");
    }

    public async Task KillAsync()
    {
        if (_child is not null)
        {
            await _child.KillAsync().ConfigureAwait(false);
            await _child.DisposeAsync().ConfigureAwait(false);
            _child = null;
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_child is not null)
        {
            await _child.DisposeAsync().ConfigureAwait(false);
            _child = null;
        }
    }

    private string[] Command(string mode) =>
    [
        Program, "--object", "iothread,id=io", "--blockdev", $"driver=file,node-name=drive,filename={file},{mode}", .. exports,
    ];

    private async Task<bool> WaitAsync(ChildProcess child, CancellationToken cancellation)
    {
        DateTime deadline = DateTime.UtcNow + s_patience;
        try
        {
            while (!child.HasExited && DateTime.UtcNow < deadline)
            {
                if (isReady())
                {
                    return true;
                }

                await Task.Delay(20, cancellation).ConfigureAwait(false);
            }

            return false;
        }
        catch (OperationCanceledException)
        {
            await child.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }
}

/// <summary>
/// A daemon that is reached by a socket. What it leaves of the socket when it is killed is removed, so that its next start is
/// seen.
/// </summary>
internal sealed class SocketOfStorageDaemon(StorageDaemonProcess daemon, string preparation, string socketPath, LoadEndpoint endpoint) : IRunningMethod, IRestartable
{
    public LoadEndpoint Endpoint => endpoint;

    public IReadOnlyList<int> ProcessIds => daemon.ProcessIds;

    public IReadOnlyList<string> Commands => [preparation, daemon.CommandLine];

    public string? WhyEnded => daemon.WhyEnded;

    public async Task KillAsync()
    {
        await daemon.KillAsync().ConfigureAwait(false);
        File.Delete(socketPath);
    }

    public Task StartAgainAsync(CancellationToken cancellation) => daemon.StartAsync(cancellation);

    public ValueTask DisposeAsync() => daemon.DisposeAsync();
}
