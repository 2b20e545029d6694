using System.Diagnostics;

namespace Polyblk.Bench;

/// <summary>Where the benchmark finds programs and puts its files.</summary>
internal sealed class BenchPaths : IDisposable
{
    /// <summary>Makes the working folder.</summary>
    public BenchPaths(string repository)
    {
        Repository = repository;
        Work = Directory.CreateTempSubdirectory("polyblk-bench-").FullName;
        Shm = Directory.CreateDirectory($"/dev/shm/{Path.GetFileName(Work)}").FullName;
        Polyblk = Path.Combine(repository, "polyblk");
    }

    public string Repository { get; }

    public string Work { get; }

    /// <summary>A folder on tmpfs.</summary>
    public string Shm { get; }

    public string Polyblk { get; }

    /// <summary>This program, to be started again as the load.</summary>
    public string Self { get; } = Environment.ProcessPath!;

    /// <summary>Runs a command to its end and returns what it printed.</summary>
    /// <exception cref="InvalidOperationException">It failed.</exception>
    public static string Run(string program, IEnumerable<string> arguments)
    {
        string[] list = [.. arguments];
        using Process process = Process.Start(new ProcessStartInfo(program, list) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0
            ? output
            : throw new InvalidOperationException($"{program} {string.Join(' ', list)} ended with {process.ExitCode}:\n{output}{error.Result}");
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Directory.Delete(Work, recursive: true);
        Directory.Delete(Shm, recursive: true);
    }
}
