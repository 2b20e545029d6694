using Polyblk.Compare.Methods;

namespace Polyblk.Compare.Load.Fio;

/// <summary>A fresh file system on a device of the comparison, mounted for one run. Disposal unmounts it.</summary>
internal sealed class MountedFileSystem : IAsyncDisposable
{
    private MountedFileSystem(string folder) => Folder = folder;

    /// <summary>Where it is mounted.</summary>
    public string Folder { get; }

    /// <exception cref="MethodException">It cannot be made or mounted.</exception>
    public static async Task<MountedFileSystem> MakeAsync(string device, string type, string folder, CancellationToken cancellation)
    {
        await Command.RunAsync([$"mkfs.{type}", "-q", "-F", device], cancellation).ConfigureAwait(false);
        Directory.CreateDirectory(folder);
        cancellation.ThrowIfCancellationRequested();
        await Command.RunAsync(["mount", "-t", type, device, folder], CancellationToken.None).ConfigureAwait(false);
        return new MountedFileSystem(folder);
    }

    public async ValueTask DisposeAsync() => await Command.RunAsync(["umount", Folder], CancellationToken.None).ConfigureAwait(false);
}
