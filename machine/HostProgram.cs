namespace Polyblk.Machine;

/// <summary>Programs of the host, which run beside a machine or are put into it.</summary>
public static class HostProgram
{
    // Debian's packages of the programs that machines are made of.
    private static readonly Dictionary<string, string> s_packages = new(StringComparer.Ordinal)
    {
        ["qemu-system-x86_64"] = "qemu-system-x86",
        ["qemu-storage-daemon"] = "qemu-utils",
        ["fio"] = "fio",
        ["vdpa"] = "iproute2",
        ["mdadm"] = "mdadm",
        ["ldd"] = "libc-bin",
    };

    /// <summary>The path of a program, looked up as root's shell would, or null.</summary>
    public static string? TryFind(string name)
    {
        if (name.StartsWith('/')) return File.Exists(name) ? name : null;
        string path = (Environment.GetEnvironmentVariable("PATH") ?? "") + ":/usr/sbin:/sbin:/usr/bin:/bin";
        return path.Split(':', StringSplitOptions.RemoveEmptyEntries).Select(folder => Path.Combine(folder, name)).FirstOrDefault(File.Exists);
    }

    /// <summary>The path of a program.</summary>
    /// <exception cref="MachineException">It is not installed; the message has the command that brings it.</exception>
    public static string Find(string name) => TryFind(name) ?? throw new MachineException(
        $"{name} is not installed." + (s_packages.TryGetValue(name, out string? package) ? $" Run: apt-get install {package}" : ""));
}
