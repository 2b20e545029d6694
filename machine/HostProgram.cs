using Polyblk.Core.Interop;

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

    /// <summary>The path of a program (<see cref="ProgramPath"/>).</summary>
    /// <exception cref="MachineException">It is not installed; the message has the command that brings it.</exception>
    public static string Find(string name) => ProgramPath.TryFind(name) ?? throw new MachineException(
        $"{name} is not installed." + (s_packages.TryGetValue(name, out string? package) ? $" Run: apt-get install {package}" : ""));
}
