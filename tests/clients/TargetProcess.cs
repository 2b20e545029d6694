using System.Diagnostics;

namespace Polyblk.Clients.Tests;

/// <summary>A target in a process of its own, on a sparse file, that can be killed and started again.</summary>
internal sealed class TargetProcess : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("pbtg").FullName;
    private readonly int _reactors;
    private Process _process;

    public TargetProcess(long sizeBytes, int reactors)
    {
        _reactors = reactors;
        Socket = Path.Combine(_directory, "s.sock");
        using (FileStream file = File.Create(FilePath))
        {
            file.SetLength(sizeBytes);
        }

        _process = Start();
    }

    public string Socket { get; }

    public string FilePath => Path.Combine(_directory, "disk");

    /// <summary>SIGKILL: no handler runs, nothing is flushed.</summary>
    public void Kill()
    {
        _process.Kill();
        _process.WaitForExit();
        _process.Dispose();
    }

    public void StartAgain() => _process = Start();

    public void Dispose()
    {
        Kill();
        Directory.Delete(_directory, recursive: true);
    }

    private Process Start()
    {
        string program = Path.Combine(AppContext.BaseDirectory, "Polyblk.ClientsTarget.dll");
        var info = new ProcessStartInfo("dotnet", [program, $"file:{FilePath}", Socket, $"{_reactors}"])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        };
        Process process = Process.Start(info)!;
        string? line = process.StandardOutput.ReadLine();
        return line == "ready" ? process : throw new InvalidOperationException($"The target did not start: {line}");
    }
}
