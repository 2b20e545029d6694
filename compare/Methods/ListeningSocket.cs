namespace Polyblk.Compare.Methods;

/// <summary>
/// Whether somebody listens at a path. A socket's file is there from bind(2) on; who connects before listen(2) is refused, and on a
/// busy host the two are far enough apart. A trial connection would tell as well, but be the one that some servers serve.
/// </summary>
internal static class ListeningSocket
{
    /// <summary>SO_ACCEPTCON of &lt;linux/net.h&gt;, as /proc/net/unix (proc(5)) shows it.</summary>
    private const string AcceptingFlags = "00010000";

    /// <summary>Reads it from the kernel's table of this network namespace; without that table the file has to do.</summary>
    public static bool IsAt(string path)
    {
        try
        {
            // Num: RefCount Protocol Flags Type St Inode Path; the path as it was given to bind(2).
            return File.ReadLines("/proc/net/unix").Any(line =>
                line.EndsWith(' ' + path, StringComparison.Ordinal)
                && line.Split(' ', StringSplitOptions.RemoveEmptyEntries) is [_, _, _, AcceptingFlags, ..]);
        }
        catch (IOException)
        {
            return File.Exists(path);
        }
    }
}
