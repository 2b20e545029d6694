// What a machine needs to start machines of its own: QEMU with its firmware, the modules of KVM, and what the inner machine
// boots.
//
// Theory of operation: the inner machine boots what the outer one did. Kernel and archives lie in the outer machine's initramfs
// as a sealed cache (MachineCache), so that nothing is fetched or built in there. The inner QEMU uses KVM where the outer
// processor offers virtualisation: the emulated one does (AMD's, with nested paging), and a real one where the host's KVM is
// allowed to nest. Otherwise it emulates, which within an emulated machine takes half an hour for a boot.

namespace Polyblk.Machine;

/// <summary>Puts QEMU and a kernel into a machine.</summary>
internal static class NestedMachine
{
    private const string Qemu = "qemu-system-x86_64";

    // What QEMU loads to boot a kernel on q35 without graphics and network, besides kernel and initramfs.
    private static readonly string[] s_firmware = ["bios-256k.bin", "kvmvapic.bin", "linuxboot.bin", "linuxboot_dma.bin", "pvh.bin"];

    /// <summary>Comes before the outer machine's script: loads KVM. Only one of the two modules fits the processor.</summary>
    public const string Prelude = "modprobe kvm_amd 2>/dev/null || modprobe kvm_intel 2>/dev/null\n";

    /// <summary>Adds everything.</summary>
    /// <param name="initramfs">Of the outer machine.</param>
    /// <param name="image">What the inner one boots.</param>
    /// <exception cref="MachineException">QEMU is not installed, or lacks a part.</exception>
    public static void AddTo(GuestInitramfs initramfs, BootImage image)
    {
        initramfs.AddProgram(HostProgram.Find(Qemu));
        foreach (string path in Firmware()) initramfs.AddFile(path, path);
        foreach ((string source, string guestPath) in MachineCache.Seal(image)) initramfs.AddFile(source, guestPath);
    }

    /// <summary>Debian has QEMU's own firmware and that of other projects in different folders; QEMU names them all.</summary>
    private static IEnumerable<string> Firmware()
    {
        string[] folders = HostProgram.Run(Qemu, "-L", "help").Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        return from name in s_firmware
               let path = folders.Select(folder => Path.Combine(folder, name)).FirstOrDefault(File.Exists)
               where path is not null
               select path;
    }
}
