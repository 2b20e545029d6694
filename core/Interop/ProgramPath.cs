namespace Polyblk.Core.Interop;

/// <summary>Where a program of the host is: one rule for everybody who starts one.</summary>
public static class ProgramPath
{
    // Administrators' programs (losetup, mdadm, vdpa, modprobe) are on root's PATH only; their folders are looked through after
    // it.
    private static readonly string[] s_folders = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"];

    /// <summary>
    /// The path of a program: a name is looked up on PATH and then in the system's folders, a path is taken as it is. Null when
    /// there is no such file.
    /// </summary>
    public static string? TryFind(string name)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        return name.Contains('/', StringComparison.Ordinal)
            ? (File.Exists(name) ? name : null)
            : (Environment.GetEnvironmentVariable("PATH") ?? string.Empty).Split(':', StringSplitOptions.RemoveEmptyEntries)
                .Concat(s_folders).Select(folder => Path.Combine(folder, name)).FirstOrDefault(File.Exists);
    }
}
