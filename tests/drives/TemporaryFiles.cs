
namespace Polyblk.Drives.Tests;

/// <summary>Names of files that are deleted at the end of a test.</summary>
internal sealed class TemporaryFiles : IDisposable
{
    private readonly string _id = Guid.NewGuid().ToString("N");
    private readonly List<string> _paths = [];

    /// <summary>A path in a directory, not existing.</summary>
    public string NewPath(string directory = "/dev/shm")
    {
        string path = Path.Combine(directory, $"polyblk-test-{_id}-{_paths.Count}.img");
        _paths.Add(path);
        return path;
    }

    /// <summary>Parses a drive in which {0} stands for something unique.</summary>
    public DriveSpec Parse(string text)
    {
        DriveSpec spec = DriveSpec.Parse(text.Replace("{0}", _id, StringComparison.Ordinal));
        if (spec.Path.Length != 0)
        {
            _paths.Add(spec.Path);
        }

        return spec;
    }

    public void Dispose() => _paths.ForEach(File.Delete);
}
