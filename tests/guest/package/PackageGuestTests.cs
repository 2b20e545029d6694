// The package in a Debian of its own: installed, upgraded, booted again, and purged. The system is real (systemd, udev, apt), the
// machine emulated where there is no KVM; the kernel is the rig's. What is checked is in the scripts.

using System.Diagnostics;

namespace Polyblk.GuestRig.Tests;

public sealed class PackageGuestTests : IDisposable
{
    private const int Drives = 3;
    private const long DriveBytes = 48 << 20;
    private const string Firmware = "/usr/share/seabios/bios-256k.bin";

    private static readonly string s_folder = Path.Combine(RigPaths.Repository, "tests", "guest", "package");

    private static readonly string[] s_none = [];
    private static readonly string s_release = Run("sh", "-c", ". /etc/os-release && echo $VERSION_CODENAME");

    private readonly string _work = Directory.CreateTempSubdirectory("polyblk-package-").FullName;

    public void Dispose() => Directory.Delete(_work, recursive: true);

    /// <summary>
    /// The releases that the package is for: this host's, and later ones (it needs the C library that it was linked to). For who
    /// wants one of them, POLYBLK_RELEASE.
    /// </summary>
    public static TheoryData<string> Releases => Environment.GetEnvironmentVariable("POLYBLK_RELEASE") is { Length: > 0 } one
        ? [one]
        : s_release == "bookworm" ? ["bookworm", "trixie"] : [s_release];

    [Theory]
    [MemberData(nameof(Releases))]
    public async Task It_is_installed_serves_after_a_reboot_and_a_purge_leaves_the_drives(string release)
    {
        string program = Path.Combine(RigPaths.Repository, "eng", "package");
        string package = Run(program, "--built", "--compression", "none", "--out", _work);
        string root = Run(Path.Combine(RigPaths.Repository, "tests", "setup", "debian-root"), release);
        string[] service =
        [
            "machine", "read-beside-machine",
            "supervised", "serving-user", "served-after-kill", "read-after-kill", "replaced", "read-after-replacement",
            "restarted", "served-alone", "alone", "scraped", "succeeded-alone", "followed", "read-after-succession-alone",
            "scraped-after-succession", "served-with-all",
        ];
        string[] doors =
        [
            "restarted-as-root", "served-as-root", "root-user", "export-doors", "devices", "read-by-ublk", "read-by-vduse",
            "replaced-as-root", "read-by-ublk-after-kill", "read-by-vduse-after-kill", "removed-ublk", "removed-vduse",
            "no-device", "served-as-user", "user-again", "read-as-user",
        ];

        // Where there are two releases, each has a part that takes its time.
        bool hasService = release == s_release, hasDoors = release == "trixie";
        string[] scripts =
            ["install.sh", .. hasService ? ["service.sh"] : s_none, .. hasDoors ? ["doors.sh"] : s_none, "upgrade.sh"];
        await BootAsync($"package-install-{release}", root, package, scripts,
        [
            "install", "enabled", "active", "user", "no-capability", "no-new-privileges", "filtered", "level", "create",
            "record-owner", "export", "served", "written", "read", "others", "nothing-written", "no-network",
            .. hasService ? service : [],
            .. hasDoors ? doors : [],
            "upgraded", "serves-on", "old-program", "succeeded", "replaced-by-successor", "new-program", "same-main-process",
            "read-after-succession",
            "isolate", "stopped", "started", "own-process", "own-process-user", "read-isolated", "own-process-after-kill",
            "read-isolated-after-kill", "clean-with-processes", "nothing-left-running", "completion",
        ], hasService);
        await BootAsync($"package-purge-{release}", root, package, ["purge.sh"],
        [
            "served-after-reboot", "optimal", "read-after-reboot", "own-process-after-reboot", "clean", "purge", "drives-stay", "no-service",
            "nothing-left", "no-runtime", .. hasService ? ["machine-after-reboot"] : s_none,
        ], hasService);
    }

    /// <summary>Boots the disk as the boot before has left it; the first time, as it was made.</summary>
    /// <param name="name">What the machine is called.</param>
    /// <param name="root">The disk with the system.</param>
    /// <param name="package">The package.</param>
    /// <param name="scripts">What is run there.</param>
    /// <param name="expected">The checks that must have passed.</param>
    /// <param name="withMachine">Whether it can start a machine of its own: QEMU of this host, and what it boots.</param>
    private async Task BootAsync(string name, string root, string package, string[] scripts, string[] expected, bool withMachine)
    {
        string before = Path.Combine(_work, "before");
        if (!Directory.Exists(before))
        {
            Directory.CreateDirectory(before);
            Copy(root, Path.Combine(before, "root"));
            for (int i = 0; i < Drives; i++)
            {
                using FileStream drive = File.Create(Path.Combine(before, $"drive{i}"));
                drive.SetLength(DriveBytes);
            }
        }

        string after = Path.Combine(_work, name);
        string programs = Path.Combine(RigPaths.Repository, "artifacts", "guest-programs", "guest-programs");
        await Guests.RunAsync(async attempt =>
        {
            // A machine that broke down begins again with the disks as they were.
            Directory.CreateDirectory(after);
            foreach (string disk in Directory.GetFiles(before))
            {
                Copy(disk, Path.Combine(after, Path.GetFileName(disk)));
            }

            var builder = new GuestVmBuilder(name, GuestKernel.Linux612);
            builder.Disk(new FileDisk(Path.Combine(after, "root"), Queues: 1, Iothreads: 1));
            if (withMachine)
            {
                builder.Programs("qemu-system-x86_64").File(Firmware, $"/rig/firmware/{Path.GetFileName(Firmware)}")
                    .File(AssembleMachine(), "/rig/machine.img");
            }

            for (int i = 0; i < Drives; i++)
            {
                builder.Disk(new FileDisk(Path.Combine(after, $"drive{i}"), Queues: 1, Iothreads: 1));
            }

            GuestVm guest = attempt.Start(builder
                .Memory(1024)
                .KernelArgument("rdinit=/rig/boot.sh systemd.show_status=false")
                .Text("/rig/boot.sh", await File.ReadAllTextAsync(Path.Combine(s_folder, "boot.sh")))
                .Text("/rig/system.sh", await File.ReadAllTextAsync(Path.Combine(s_folder, "system.sh")))
                .File(package, "/rig/polyblk.deb")
                .File(programs, "/rig/bin/guest-programs")
                .File("/usr/lib/x86_64-linux-gnu/libblkio.so.1", "/rig/lib/libblkio.so.1")
                .Script(string.Concat(scripts.Select(script => File.ReadAllText(Path.Combine(s_folder, script)))))
                .Timeout(TimeSpan.FromMinutes(8)));
            (await guest.CompletionAsync()).RequireSuccess(expected);
        });
        Directory.Delete(before, recursive: true);
        Directory.Move(after, before);
    }

    /// <summary>What the machine in the machine boots; the disk has its first sector.</summary>
    private string AssembleMachine()
    {
        string assembled = Path.Combine(_work, "machine.o"), disk = Path.Combine(_work, "machine.img");
        _ = Run("as", "--32", Path.Combine(s_folder, "machine.s"), "-o", assembled);
        _ = Run("ld", "-m", "elf_i386", "-Ttext", "0x7c00", "-e", "0x7c00", "--oformat", "binary", "-o", disk, assembled);

        // Its firmware starts no disk that is smaller than a track.
        using FileStream file = File.OpenWrite(disk);
        file.SetLength(1 << 20);
        return disk;
    }

    private static void Copy(string from, string to) => _ = Run("cp", "--sparse=always", "--reflink=auto", "--", from, to);

    /// <summary>Runs a program and returns what it printed.</summary>
    private static string Run(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd().Trim();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{program} ended with {process.ExitCode}: {errors.Result}");
        return output;
    }
}
