// What an image's cloud-init finds at its first boot: a volume "cidata" with the key that lets this program in (the NoCloud data
// source). The same volume carries fio and mkfs of this host with their libraries and their own loader, for images that lack
// them: they run on any distribution.
//
// Source: cloud-init's documentation, "NoCloud" and "Modules, SSH". The volume is a folder that QEMU shows as a FAT disk (vvfat),
// so nothing is copied. FAT tells names apart by more than their case only.

namespace Polyblk.Machine;

/// <summary>Writes the folder of that volume.</summary>
internal static class CloudSeed
{
    /// <summary>The volume's name, by which cloud-init finds it.</summary>
    public const string Label = "cidata";

    /// <summary>Writes it.</summary>
    /// <param name="folder">Made by this.</param>
    /// <param name="publicKey">One line, as in authorized_keys.</param>
    /// <param name="programs">Names; what is not installed here is left out.</param>
    public static void Write(string folder, string publicKey, IEnumerable<string> programs)
    {
        Directory.CreateDirectory(folder);
        // Another instance each time: cloud-init then does its work also on an image that was booted before.
        File.WriteAllText(Path.Combine(folder, "meta-data"), $"instance-id: polyblk-{Guid.NewGuid():N}\nlocal-hostname: polyblk\n");
        File.WriteAllText(Path.Combine(folder, "user-data"), $"#cloud-config\ndisable_root: false\nssh_authorized_keys:\n  - {publicKey.Trim()}\n");
        foreach (string name in programs.Where(HostProgram.IsInstalled)) AddProgram(folder, name);
    }

    /// <summary>bin/NAME starts host/NAME with the loader and the libraries that it has here.</summary>
    private static void AddProgram(string folder, string name)
    {
        string program = HostProgram.Find(name);
        Link(folder, "host", name, program);
        string start = "$here/host/" + name;
        foreach (string library in HostProgram.Libraries(program))
        {
            string file = Path.GetFileName(library);
            Link(folder, "lib", file, library);
            if (file.StartsWith("ld-", StringComparison.Ordinal)) start = $"$here/lib/{file} --library-path $here/lib {start}";
        }

        string bin = Directory.CreateDirectory(Path.Combine(folder, "bin")).FullName;
        File.WriteAllText(Path.Combine(bin, name), $"#!/bin/sh\nhere=${{0%/bin/*}}\nexec {start} \"$@\"\n");
    }

    private static void Link(string folder, string subfolder, string name, string target)
    {
        string link = Path.Combine(Directory.CreateDirectory(Path.Combine(folder, subfolder)).FullName, name);
        if (!File.Exists(link)) File.CreateSymbolicLink(link, Path.GetFullPath(target));
    }
}
