using System.Diagnostics;

namespace Polyblk.Bench.Restart;

/// <summary>A daemon in a folder of its own, and the commands that speak to it.</summary>
internal sealed class DaemonHost : IDisposable
{
    private readonly string _folder;
    private readonly string _program;

    /// <param name="parent">Where the folder is made.</param>
    public DaemonHost(string parent)
    {
        _folder = Directory.CreateDirectory(Path.Combine(parent, $"polyblk-restart-{Environment.ProcessId}")).FullName;
        string root = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(root, "Frontends.sln")))
        {
            root = Path.GetDirectoryName(root) ?? throw new DirectoryNotFoundException("This runs in the repository.");
        }

        _program = Path.Combine(root, "artifacts", "native", "here", "polyblk");
    }

    public string PathOf(string name) => Path.Combine(_folder, name);

    public void StartDaemon()
    {
        // Nobody reads what it writes; successors have the same streams.
        Process.Start(new ProcessStartInfo("/bin/sh", ["-c", $"exec '{_program}' daemon --state '{PathOf("s")}' </dev/null >'{PathOf("log")}' 2>&1"]))!
            .Dispose();
        for (long end = Environment.TickCount64 + 30_000; !File.Exists(PathOf("s/run/_daemon/control.sock"));)
        {
            if (Environment.TickCount64 > end)
            {
                throw new TimeoutException($"The daemon does not start: {File.ReadAllText(PathOf("log"))}");
            }

            Thread.Sleep(10);
        }
    }

    public void Run(params string[] arguments)
    {
        var start = new ProcessStartInfo(_program, [.. arguments, "--state", PathOf("s")]) { RedirectStandardOutput = true };
        using Process process = Process.Start(start)!;
        process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        if (process.ExitCode != 0)
        {
            throw new InvalidOperationException($"polyblk {string.Join(' ', arguments)} ended with {process.ExitCode}.\n{File.ReadAllText(PathOf("log"))}");
        }
    }

    public void Dispose()
    {
        if (File.Exists(PathOf("s/run/_daemon/lock")))
        {
            // The framework would lock the file, as its owner does.
            using var reader = Process.Start(new ProcessStartInfo("cat", [PathOf("s/run/_daemon/lock")]) { RedirectStandardOutput = true })!;
            string pid = reader.StandardOutput.ReadToEnd().Trim();
            Process.Start("kill", ["-TERM", pid]).WaitForExit();
            for (int i = 0; i < 1000 && Directory.Exists($"/proc/{pid}"); i++)
            {
                Thread.Sleep(10);
            }
        }

        Directory.Delete(_folder, recursive: true);
    }
}
