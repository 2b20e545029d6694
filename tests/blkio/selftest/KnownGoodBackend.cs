using Polyblk.GuestRig;

namespace Polyblk.Blkio.Tests;

/// <summary>A disk in a file of zeroes, served by QEMU's storage daemon with two queues until disposed.</summary>
public abstract class KnownGoodBackend : IDisposable
{
    protected const int DiskBytes = 16 << 20;

    private readonly StorageDaemon _daemon;

    protected KnownGoodBackend()
    {
        Disk = PathOf("disk");
        Socket = PathOf("disk.sock");
        File.WriteAllBytes(Disk, new byte[DiskBytes]);
        _daemon = new StorageDaemon(Disk, Socket, queues: 2);
    }

    /// <summary>The file.</summary>
    protected string Disk { get; }

    /// <summary>Where it is served.</summary>
    protected string Socket { get; }

    private string Folder { get; } = Directory.CreateTempSubdirectory("polyblk-blkio-").FullName;

    public void Dispose()
    {
        _daemon.Dispose();
        Directory.Delete(Folder, recursive: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>From now on it answers nothing.</summary>
    protected void StopDaemon() => _daemon.Stop();

    /// <summary>A file in the folder that goes with the backend.</summary>
    protected string PathOf(string name) => Path.Combine(Folder, name);
}
