using System.Diagnostics;
using System.Globalization;
using System.Text;
using Polyblk.Compare.Load;
using Polyblk.Core.Interop;
using Polyblk.Machine;

namespace Polyblk.Compare.Methods;

/// <summary>
/// A program that runs beside: pinned to processors where taskset is installed, its last words kept for messages, ended by
/// disposal, and by the end of this process.
/// </summary>
public sealed class ChildProcess : IAsyncDisposable
{
    private const int MaxErrorChars = 4096;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);

    private readonly Process _process;
    private readonly string _name;
    private readonly StringBuilder _errors = new();

    private ChildProcess(Process process, string name, string command)
    {
        _process = process;
        _name = name;
        CommandLine = command;
    }

    /// <summary>The command as it can be typed.</summary>
    public string CommandLine { get; }

    public int Id => _process.Id;

    public bool HasExited => _process.HasExited;

    public int ExitCode => _process.ExitCode;

    /// <summary>How it ended by itself; null while it runs.</summary>
    public string? WhyEnded => !HasExited ? null
        : $"its server has ended with exit code {ExitCode}{(LastErrors is { Length: > 0 } words ? $": {words}" : string.Empty)}";

    public StreamReader Output => _process.StandardOutput;

    /// <summary>What it last wrote to standard error.</summary>
    public string LastErrors
    {
        get
        {
            lock (_errors)
            {
                return _errors.ToString().Trim();
            }
        }
    }

    /// <exception cref="MethodException">The program cannot be started.</exception>
    public static ChildProcess Start(IReadOnlyList<string> command, IReadOnlyList<int> cpus)
    {
        ArgumentNullException.ThrowIfNull(command);
        string[] found = [ProgramPath.TryFind(command[0]) ?? command[0], .. command.Skip(1)];
        string[] pinning = cpus.Count > 0 && ProgramPath.TryFind("taskset") is string taskset ? [taskset, "-c", string.Join(',', cpus)] : [];
        string[] words = [.. pinning, .. found];
        var start = new ProcessStartInfo(words[0], words.Skip(1))
        {
            RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true, UseShellExecute = false,
        };
        try
        {
            Process process = BoundProcess.Start(start);
            var child = new ChildProcess(process, command[0], ShellLine.Of([.. pinning, .. command]));
            process.ErrorDataReceived += (_, line) => child.Keep(line.Data);
            process.BeginErrorReadLine();
            return child;
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            throw new MethodException($"{command[0]} cannot be started: {e.Message}", e);
        }
    }

    /// <summary>Waits until it ends and returns its exit code and everything it wrote to standard output.</summary>
    public async Task<(int ExitCode, string Output)> FinishAsync(CancellationToken cancellation)
    {
        string output = await _process.StandardOutput.ReadToEndAsync(cancellation).ConfigureAwait(false);
        await _process.WaitForExitAsync(cancellation).ConfigureAwait(false);
        return (_process.ExitCode, output);
    }

    /// <summary>Waits as <see cref="FinishAsync(CancellationToken)"/>, but no longer than the limit.</summary>
    /// <exception cref="TimeoutException">It has not ended; it runs on.</exception>
    public async Task<(int ExitCode, string Output)> FinishAsync(TimeSpan limit, CancellationToken cancellation)
    {
        using var limited = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limited.CancelAfter(limit);
        try
        {
            return await FinishAsync(limited.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException e) when (!cancellation.IsCancellationRequested)
        {
            throw new TimeoutException(string.Create(CultureInfo.InvariantCulture, $"{_name} did not end within {limit.TotalSeconds:0.#} s"), e);
        }
    }

    /// <summary>Kills it as <see cref="TryKillAsync"/> does.</summary>
    /// <exception cref="MethodException">It does not go.</exception>
    public async Task KillAsync()
    {
        if (!await TryKillAsync().ConfigureAwait(false))
        {
            throw new MethodException($"{_name} (process {Id}) does not even end by SIGKILL: it waits in the kernel");
        }
    }

    /// <summary>
    /// Asks it to end (SIGTERM) and ends it by force when it does not. One that waits in the kernel is left behind: it ends when
    /// the device that it waits for answers or is taken away, for which nobody may wait for it.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            _ = Signals.Terminate(_process.Id);
            if (!await HasEndedAsync().ConfigureAwait(false))
            {
                _ = await TryKillAsync().ConfigureAwait(false);
            }
        }

        _process.Dispose();
    }

    /// <summary>Kills it (SIGKILL), with what it started, and waits until it is gone.</summary>
    /// <returns>False when it is not: a request of it waits in the kernel for an answer.</returns>
    public async Task<bool> TryKillAsync()
    {
        if (_process.HasExited)
        {
            return true;
        }

        _process.Kill(entireProcessTree: true);
        return await HasEndedAsync().ConfigureAwait(false);
    }

    private async Task<bool> HasEndedAsync()
    {
        using var patience = new CancellationTokenSource(s_patience);
        try
        {
            await _process.WaitForExitAsync(patience.Token).ConfigureAwait(false);
            return true;
        }
        catch (OperationCanceledException)
        {
            return _process.HasExited;
        }
    }

    private void Keep(string? line)
    {
        lock (_errors)
        {
            _errors.AppendLine(line);
            if (_errors.Length > MaxErrorChars)
            {
                _errors.Remove(0, _errors.Length - MaxErrorChars);
            }
        }
    }
}

/// <summary>kill(2).</summary>
internal static class Signals
{
    public static int Terminate(int pid) => Libc.kill(pid, Libc.SIGTERM);
}
