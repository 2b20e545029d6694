// A state folder of its own, and the real program on it, as a user would run it from a shell.

using System.Diagnostics;
using Polyblk.GuestRig;

namespace Polyblk.Volumes.Tests;

/// <summary>A folder and what ran on it; disposing ends that and removes everything.</summary>
internal sealed class TestState : IDisposable
{
    private readonly List<Process> _started = [];

    /// <summary>Where all of it lies.</summary>
    public string Folder { get; } = Directory.CreateTempSubdirectory("polyblk-volume-").FullName;

    /// <summary>The words that start the program; exchanged by a test that has it at another place.</summary>
    public IReadOnlyList<string> Words { get; set; } = RigPaths.PolyblkWords;

    /// <summary>What the programs that go on have told.</summary>
    public string Log => File.ReadAllText(LogPath);

    private string LogPath => Path.Combine(Folder, "serve.log");

    /// <summary>Runs a command of polyblk to its end and returns what it printed.</summary>
    public string Run(IEnumerable<string> arguments)
    {
        using Process process = Process.Start(StartInfo(arguments))!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0 ? output : throw new InvalidOperationException(
            $"polyblk {string.Join(' ', arguments)} ended with {process.ExitCode}: {error.Result}");
    }

    /// <summary>Starts one that goes on.</summary>
    /// <param name="arguments">The command.</param>
    /// <param name="onLine">Told each line of its standard output.</param>
    public Process Start(IEnumerable<string> arguments, Action<string?>? onLine = null)
    {
        Process process = Process.Start(StartInfo(arguments))!;
        _started.Add(process);
        process.OutputDataReceived += (_, e) =>
        {
            Note(e.Data);
            onLine?.Invoke(e.Data);
        };
        process.ErrorDataReceived += (_, e) => Note(e.Data);
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return process;
    }

    public void Dispose()
    {
        foreach (Process process in _started)
        {
            if (!process.HasExited)
            {
                process.Kill();
                process.WaitForExit();
            }

            process.Dispose();
        }

        Directory.Delete(Folder, recursive: true);
    }

    private ProcessStartInfo StartInfo(IEnumerable<string> arguments) =>
        new(Words[0], [.. Words.Skip(1), "--state", Path.Combine(Folder, "state"), .. arguments])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };

    private void Note(string? line)
    {
        lock (_started)
        {
            if (Directory.Exists(Folder))
            {
                File.AppendAllText(LogPath, line + "\n");
            }
        }
    }
}
