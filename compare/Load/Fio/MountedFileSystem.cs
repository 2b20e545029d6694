using Polyblk.Compare.Methods;

namespace Polyblk.Compare.Load.Fio;

/// <summary>A fresh file system on a device of the comparison, mounted for one run. Disposal unmounts it.</summary>
internal sealed class MountedFileSystem : IAsyncDisposable
{
    private MountedFileSystem(string folder) => Folder = folder;

    /// <summary>Where it is mounted.</summary>
    public string Folder { get; }

    /// <summary>What makes and mounts it.</summary>
    public static IReadOnlyList<string>[] Commands(string device, string type, string folder) => [[$"mkfs.{type}", "-q", "-F", device], ["mount", "-t", type, device, folder]];

    /// <summary>What unmounts it.</summary>
    public static IReadOnlyList<string> EndCommand(string folder) => ["umount", folder];

    /// <exception cref="MethodException">It cannot be made or mounted.</exception>
    public static async Task<MountedFileSystem> MakeAsync(string device, string type, string folder, CancellationToken cancellation)
    {
        IReadOnlyList<string>[] commands = Commands(device, type, folder);
        await Command.RunAsync(commands[0], cancellation).ConfigureAwait(false);
        Directory.CreateDirectory(folder);
        cancellation.ThrowIfCancellationRequested();
        await Command.RunAsync(commands[1], CancellationToken.None).ConfigureAwait(false);
        return new MountedFileSystem(folder);
    }

    public async ValueTask DisposeAsync() => await Command.RunAsync(EndCommand(Folder), CancellationToken.None).ConfigureAwait(false);
}
