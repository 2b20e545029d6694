// Writes a cpio archive in the "newc" format, which the kernel unpacks as an initramfs; archives may be concatenated, later
// files replace earlier ones. Format: Documentation/driver-api/early-userspace/buffer-format.rst in the kernel's sources.

using System.Text;

namespace Polyblk.Machine;

/// <summary>An initramfs archive being written. Parent folders are added by themselves; every entry
/// belongs to root and may be executed.</summary>
internal sealed class CpioArchive(Stream output) : IDisposable
{
    private const int Directory = 0x4000, Regular = 0x8000, Mode = 0x1ED; // S_IFDIR, S_IFREG, rwxr-xr-x
    private readonly HashSet<string> _entries = ["/"];
    private int _inode;

    /// <summary>Adds a file from the host; a path already added is passed over.</summary>
    public void AddFile(string source, string path)
    {
        if (!BeginEntry(path)) return;
        using FileStream content = File.OpenRead(source);
        WriteHeader(path, Regular | Mode, content.Length);
        content.CopyTo(output);
        Pad(content.Length);
    }

    /// <summary>Adds a file with the given text.</summary>
    public void AddText(string path, string text)
    {
        if (!BeginEntry(path)) return;
        byte[] content = Encoding.UTF8.GetBytes(text);
        WriteHeader(path, Regular | Mode, content.Length);
        output.Write(content);
        Pad(content.Length);
    }

    /// <summary>Adds a folder of the host with all below it.</summary>
    public void AddFolder(string source, string path)
    {
        foreach (string file in System.IO.Directory.EnumerateFiles(source, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal))
            AddFile(file, path + "/" + Path.GetRelativePath(source, file));
    }

    public void Dispose()
    {
        WriteHeader("/TRAILER!!!", 0, 0);
        output.Flush();
    }

    private bool BeginEntry(string path)
    {
        if (!path.StartsWith('/')) throw new ArgumentException($"A guest path must be absolute: {path}", nameof(path));
        if (!_entries.Add(path)) return false;
        string parent = path[..Math.Max(1, path.LastIndexOf('/'))];
        if (BeginFolder(parent)) WriteHeader(parent, Directory | Mode, 0);
        return true;
    }

    /// <summary>True when the folder is new; its own parents have then been written.</summary>
    private bool BeginFolder(string path) => path != "/" && BeginEntry(path);

    private void WriteHeader(string path, int mode, long size)
    {
        string name = path.TrimStart('/');
        int links = (mode & Directory) != 0 ? 2 : 1;
        int nameBytes = Encoding.UTF8.GetByteCount(name) + 1;
        // ino, mode, uid, gid, nlink, mtime, filesize, dev and rdev (major, minor), namesize, check
        string header = $"070701{++_inode:X8}{mode:X8}{0:X8}{0:X8}{links:X8}{0:X8}{size:X8}{0:X8}{0:X8}{0:X8}{0:X8}{nameBytes:X8}{0:X8}";
        output.Write(Encoding.ASCII.GetBytes(header));
        output.Write(Encoding.UTF8.GetBytes(name));
        output.WriteByte(0);
        Pad(header.Length + nameBytes);
    }

    private void Pad(long written)
    {
        for (; (written & 3) != 0; written++) output.WriteByte(0);
    }
}
