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

    /// <summary>Starts the daemon, and does not wait for it.</summary>
    public void BeginDaemon(params string[] options) =>
        // Nobody reads what it writes; successors have the same streams.
        Process.Start(new ProcessStartInfo(
            "/bin/sh", ["-c", $"exec '{_program}' daemon {string.Join(' ', options)} --state '{PathOf("s")}' </dev/null >>'{PathOf("log")}' 2>&1"]))!
            .Dispose();

    /// <summary>Starts the daemon.</summary>
    public void StartDaemon(params string[] options)
    {
        BeginDaemon(options);
        Wait(() => File.Exists(PathOf("s/run/_daemon/control.sock")), "a daemon");
    }

    /// <summary>The process that serves; 0 for none.</summary>
    public int ServingPid()
    {
        // The framework would lock the file, as its owner does.
        using var reader = Process.Start(
            new ProcessStartInfo("cat", [PathOf("s/run/_daemon/lock")]) { RedirectStandardOutput = true })!;
        _ = int.TryParse(reader.StandardOutput.ReadToEnd().Trim(), out int pid);
        return pid != 0 && Directory.Exists($"/proc/{pid}") ? pid : 0;
    }

    /// <summary>Waits until something is so.</summary>
    public void Wait(Func<bool> isSo, string what)
    {
        for (long end = Environment.TickCount64 + 30_000; !isSo(); Thread.Sleep(1))
        {
            if (Environment.TickCount64 > end)
            {
                throw new TimeoutException($"Waited in vain for {what}: {File.ReadAllText(PathOf("log"))}");
            }
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
        if (File.Exists(PathOf("s/run/_daemon/lock")) && ServingPid() is not 0 and int pid)
        {
            Process.Start("kill", ["-TERM", $"{pid}"]).WaitForExit();
            Wait(() => !Directory.Exists($"/proc/{pid}"), "the daemon's end");
        }

        Directory.Delete(_folder, recursive: true);
    }
}
