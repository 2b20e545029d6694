using System.Diagnostics;

namespace Polyblk.Bench.Restart;

/// <summary>A qemu-storage-daemon that exports a file by vhost-user, to compare with; it has no successors, and no
/// RAID.</summary>
internal sealed class StorageDaemon : IDisposable
{
    private const long Bytes = 128L << 20;

    private readonly string[] _arguments;
    private readonly string _socket;
    private Process _process;

    /// <param name="file">The drive; it is made.</param>
    /// <param name="socket">Where front-ends connect.</param>
    public StorageDaemon(string file, string socket)
    {
        using (FileStream made = File.Create(file))
        {
            made.SetLength(Bytes);
        }

        _socket = socket;
        _arguments =
        [
            "--blockdev", $"driver=file,node-name=drive,filename={file}",
            "--export",
                $"type=vhost-user-blk,id=export,node-name=drive,addr.type=unix,addr.path={socket},writable=on,num-queues=1",
        ];
        _process = Start();
        for (long end = Environment.TickCount64 + 30_000; !File.Exists(socket); Thread.Sleep(10))
        {
            if (Environment.TickCount64 > end)
            {
                throw new TimeoutException("qemu-storage-daemon does not start.");
            }
        }
    }

    /// <summary>Kills it, and starts it again as soon as it is gone.</summary>
    public void KillAndStart()
    {
        _process.Kill();
        _process.WaitForExit();
        _process.Dispose();
        _process = Start();
    }

    public void Dispose()
    {
        _process.Kill();
        _process.WaitForExit();
        _process.Dispose();
        File.Delete(_socket);
    }

    private Process Start() => Process.Start("qemu-storage-daemon", _arguments);
}
