namespace Polyblk.Machine;

/// <summary>The kernels a guest can run, from the distribution's packages.</summary>
public enum GuestKernel
{
    /// <summary>Linux 6.12, a long-term release: ublk without zero copy, VDUSE API version 0.</summary>
    Linux612,

    /// <summary>Linux 7.3 or later, from the newest backports.</summary>
    Linux73,
}

/// <summary>What a machine boots.</summary>
/// <param name="Name">Short, for names of files, as in <c>6.12</c>.</param>
/// <param name="KernelPath">The kernel image.</param>
/// <param name="InitramfsPaths">Archives that follow one another; what a guest needs besides is appended.</param>
public sealed record BootImage(string Name, string KernelPath, IReadOnlyList<string> InitramfsPaths)
{
    /// <summary>
    /// The same kernel as it is in memory, where it is at hand: QEMU enters it directly (PVH), and nothing unpacks and moves it,
    /// which an emulated processor takes a second for. No boot loader takes it.
    /// </summary>
    public string? UnpackedKernelPath { get; init; }

    /// <summary>
    /// A kernel of the user's own. Its initramfs brings the modules (uncompressed, with modules.dep); init is replaced.
    /// </summary>
    /// <exception cref="MachineException">A file is not there, or the rest could not be prepared.</exception>
    public static BootImage Own(string kernelPath, string initramfsPath)
    {
        foreach (string path in new[] { kernelPath, initramfsPath })
            if (!File.Exists(path)) throw new MachineException($"There is no file {path} to boot a machine from.");
        return new BootImage("own", kernelPath, [initramfsPath, MachineCache.PlainInitramfs()]);
    }
}
