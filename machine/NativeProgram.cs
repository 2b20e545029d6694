// polyblk as machine code: which of its programs a machine runs.
//
// A program is made for a level of the processor, and lies in a folder of that level's name beside those for others (eng/native).
// A machine that KVM runs has this machine's processor; one that QEMU emulates has neither AVX-512 nor GFNI, so the program for
// x86-64-v4 would end at once.

namespace Polyblk.Machine;

/// <summary>Folders of polyblk's native programs.</summary>
public static class NativeProgram
{
    internal const string Name = "polyblk";

    private const string NotEmulated = "x86-64-v4", Emulated = "x86-64-v3";

    /// <summary>Whether the folder has a program of machine code rather than assemblies.</summary>
    public static bool IsIn(string folder) => !File.Exists(Path.Combine(folder, Name + ".dll")) && File.Exists(Path.Combine(folder, Name));

    /// <summary>The folder of the program that an emulated processor runs: this one, or one beside it.</summary>
    /// <exception cref="MachineException">There is none.</exception>
    internal static string ForEmulatedMachine(string folder)
    {
        string real = Directory.ResolveLinkTarget(folder, returnFinalTarget: true)?.FullName ?? folder;
        if (Path.GetFileName(real) != NotEmulated) return real;
        string other = Path.Combine(Path.GetDirectoryName(real)!, Emulated);
        return IsIn(other) ? other : throw new MachineException(
            $"Machines are emulated here (there is no KVM), and polyblk for their processor is not at {other}: run it by ./polyblk, which makes it.");
    }
}
