namespace Polyblk.Frontends.Ublk.Tests;

/// <summary>A directory that looks like a host's root.</summary>
internal sealed class FakeHost : IDisposable
{
    public FakeHost()
    {
        Root = Directory.CreateTempSubdirectory("polyblk-ublk-host-").FullName;
        Host = new UblkHost(Root);
        Write("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
        Link("proc/self/ns/mnt", "mnt:[1]");
    }

    public string Root { get; }

    public UblkHost Host { get; }

    public void Write(string path, string text)
    {
        string full = Path.Combine(Root, path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        File.WriteAllText(full, text);
    }

    public void Link(string path, string target)
    {
        string full = Path.Combine(Root, path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        File.CreateSymbolicLink(full, target);
    }

    /// <summary>A ublk device with the number 259:N.</summary>
    public void AddDevice(uint number)
    {
        Write($"sys/class/ublk-char/ublkc{number}/dev", $"240:{number}\n");
        Write($"sys/class/block/ublkb{number}/dev", $"259:{number}\n");
        Directory.CreateDirectory(Path.Combine(Root, $"sys/block/ublkb{number}"));
        Link($"sys/dev/block/259:{number}", $"../../devices/virtual/block/ublkb{number}");
    }

    /// <summary>A living process that has files open.</summary>
    public void AddProcess(int pid, string name, params string[] open)
    {
        Write($"proc/{pid}/stat", $"{pid} ({name}) S 1\n");
        Write($"proc/{pid}/comm", name + "\n");
        Directory.CreateDirectory(Path.Combine(Root, $"proc/{pid}/fd"));
        for (int i = 0; i < open.Length; i++)
        {
            Link($"proc/{pid}/fd/{i}", open[i]);
        }
    }

    public void Dispose() => Directory.Delete(Root, recursive: true);
}
