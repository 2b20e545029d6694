// fio as a child: started pinned, its moments estimated, its end awaited.
//
// fio measures by itself and tells at the end. Its counted time begins after its start and the warm-up; how long the start takes
// is learned once. Processor times of the target are read within the counted time, clear of both of its ends, and scaled.

using System.Diagnostics;
using Polyblk.Compare.Methods;
using Polyblk.Core.Interop;

namespace Polyblk.Compare.Load.Fio;

/// <summary>The fio of this host.</summary>
public sealed class FioProgram
{
    private const int StepMs = 5;

    private TimeSpan _start;

    private FioProgram(string version, IReadOnlySet<string> engines)
    {
        Version = version;
        Engines = engines;
    }

    /// <summary>As it says it: <c>fio-3.33</c>.</summary>
    public string Version { get; }

    /// <summary>The I/O engines that it was built with.</summary>
    public IReadOnlySet<string> Engines { get; }

    /// <summary>fio, when it is installed; null otherwise.</summary>
    /// <param name="scratchFile">A path where it may write a little and which is removed: how long it takes until it does is its
    /// start.</param>
    /// <param name="cancellation">Ends it.</param>
    public static async Task<FioProgram?> TryFindAsync(string scratchFile, CancellationToken cancellation)
    {
        if (ProgramPath.TryFind("fio") is null)
        {
            return null;
        }

        string version = await Command.RunAsync(["fio", "--version"], cancellation).ConfigureAwait(false);
        string engines = await Command.RunAsync(["fio", "--enghelp"], cancellation).ConfigureAwait(false);
        var fio = new FioProgram(version.Trim(), engines.Split('\n').Select(l => l.Trim()).ToHashSet());
        await fio.LearnStartAsync(scratchFile, cancellation).ConfigureAwait(false);
        return fio;
    }

    /// <summary>Runs it and returns its output.</summary>
    /// <exception cref="MethodException">It failed; with its own words. Or it did not end within the limit: what it drives
    /// answers no more then.</exception>
    public async Task<string> RunAsync(
        IReadOnlyList<string> arguments, LoadSettings settings, TimeSpan limit, Action<bool> onMeasuring, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(settings);
        ArgumentNullException.ThrowIfNull(onMeasuring);
        long started = Stopwatch.GetTimestamp();
        await using ChildProcess fio = ChildProcess.Start(["fio", .. arguments], settings.Cpus);
        Task<(int ExitCode, string Output)> run = fio.FinishAsync(limit, cancellation);
        TimeSpan counted = _start + settings.WarmUp;
        await CallAtAsync(run, started, counted + (settings.Duration * CountedWindow.Start), () => onMeasuring(true), cancellation).ConfigureAwait(false);
        await CallAtAsync(run, started, counted + (settings.Duration * CountedWindow.End), () => onMeasuring(false), cancellation).ConfigureAwait(false);
        try
        {
            (int exitCode, string output) = await run.ConfigureAwait(false);
            return exitCode == 0 ? output : throw new MethodException($"fio ended with {exitCode}: {fio.LastErrors}{Tail(output)}");
        }
        catch (TimeoutException e)
        {
            // SIGTERM would let it wait for its requests.
            _ = await fio.TryKillAsync().ConfigureAwait(false);
            throw new MethodException($"it stands still: {e.Message}", e) { IsFinal = true };
        }
    }

    private async Task LearnStartAsync(string scratchFile, CancellationToken cancellation)
    {
        long started = Stopwatch.GetTimestamp();
        await using ChildProcess fio = ChildProcess.Start(
            ["fio", "--name=start", $"--filename={scratchFile}", "--size=64k", "--rw=write", "--bs=4k", "--ioengine=psync", "--fallocate=none", "--thread=1"], []);
        Task<(int ExitCode, string Output)> end = fio.FinishAsync(cancellation);
        while (!end.IsCompleted && !(File.Exists(scratchFile) && new FileInfo(scratchFile).Length > 0))
        {
            await Task.Delay(StepMs, cancellation).ConfigureAwait(false);
        }

        _start = Stopwatch.GetElapsedTime(started);
        await end.ConfigureAwait(false);
        File.Delete(scratchFile);
    }

    private static async Task CallAtAsync(Task run, long started, TimeSpan at, Action call, CancellationToken cancellation)
    {
        TimeSpan left = at - Stopwatch.GetElapsedTime(started);
        if (left > TimeSpan.Zero)
        {
            await Task.WhenAny(run, Task.Delay(left, cancellation)).ConfigureAwait(false);
        }

        cancellation.ThrowIfCancellationRequested();
        call();
    }

    private static string Tail(string output) => output.Length <= 400 ? output.Trim() : output[^400..].Trim();
}
