using Polyblk.Host;
using Polyblk.Machine;

namespace Polyblk.Cli.CommandLine;

/// <summary>
/// A sparse file that is the scratch disk of a virtual machine. Disposal removes it; what a killed run left is removed by the
/// next one in the same place.
/// </summary>
internal sealed class ScratchImage : IDisposable
{
    private const string Prefix = "polyblk-compare-vm-";

    private readonly OwnedFolder _folder;

    private ScratchImage(OwnedFolder folder) => _folder = folder;

    /// <summary>The file.</summary>
    public string Path => System.IO.Path.Combine(_folder.Path, "scratch.img");

    /// <summary>Makes it in a directory.</summary>
    /// <exception cref="RefusalException">There is no such directory.</exception>
    public static ScratchImage Create(string place, long bytes)
    {
        if (!Directory.Exists(place))
        {
            throw RefusalException.NotFound($"There is no directory {place} for the scratch disk.");
        }

        OwnedFolder.RemoveAbandoned(place, Prefix);
        var image = new ScratchImage(OwnedFolder.Create(System.IO.Path.GetFullPath(place), Prefix));
        using FileStream file = File.Create(image.Path);
        file.SetLength(bytes);
        return image;
    }

    public void Dispose() => _folder.Dispose();
}
