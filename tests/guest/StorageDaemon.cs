// QEMU's own storage daemon as a vhost-user-blk backend: known to be good, so a failure of a test with it is the test's or the
// rig's; and a peer to compare with.

using System.Diagnostics;

namespace Polyblk.GuestRig;

/// <summary>Serves a raw file over vhost-user-blk until disposed.</summary>
public sealed class StorageDaemon : IDisposable
{
    private readonly Process _process;
    private readonly string _pidFile;

    /// <summary>Starts serving; returns when a client can connect.</summary>
    /// <exception cref="InvalidOperationException">The daemon ended, or was not ready within a minute.</exception>
    public StorageDaemon(string file, string socket, int queues, bool writable = true)
    {
        _pidFile = socket + ".pid";
        // The pid file is written when the exports listen; there is no other sign to wait for than this file.
        _process = Process.Start(new ProcessStartInfo("timeout",
        [
            "600", RigPaths.Program("qemu-storage-daemon"),
            "--blockdev", $"driver=file,filename={file},node-name=disk,read-only={(writable ? "off" : "on")}",
            "--export", $"type=vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path={socket},num-queues={queues},writable={(writable ? "on" : "off")}",
            "--pidfile", _pidFile,
        ]))!;
        if (!SpinWait.SpinUntil(() => File.Exists(_pidFile) || _process.HasExited, TimeSpan.FromSeconds(60)) || _process.HasExited)
            throw new InvalidOperationException("qemu-storage-daemon did not start serving.");
    }

    /// <summary>Stops the daemon (SIGSTOP): it answers nothing any more.</summary>
    public void Stop()
    {
        using var kill = Process.Start("kill", ["-STOP", File.ReadAllText(_pidFile).Trim()]);
        kill.WaitForExit();
        if (kill.ExitCode != 0)
            throw new InvalidOperationException("qemu-storage-daemon cannot be stopped.");
    }

    /// <summary>Kills the daemon, as a crash would.</summary>
    public void Dispose()
    {
        _process.Kill(entireProcessTree: true);
        _process.WaitForExit();
        _process.Dispose();
    }
}
