// The cache that machine/prepare fills once: kernels, first initramfs archives, and which accelerator works on this host.
//
// In a machine that shall start machines itself the cache is sealed: its folder holds what the inner machine boots, whichever
// kernel is asked for, and nothing is prepared.

using System.Diagnostics;
using System.Globalization;

namespace Polyblk.Machine;

/// <summary>Kernels and what else all machines share, in <c>${XDG_CACHE_HOME:-~/.cache}/polyblk/machine</c>.</summary>
public static class MachineCache
{
    // Of a sealed cache: the kernel, and its archives, whose names go on with their number.
    private const string SealedKernel = "sealed-kernel";
    private const string SealedInitramfs = "sealed-initramfs-";
    private const string FolderInMachine = "/root/.cache/polyblk/machine";

    // QEMU's names of accelerators.
    private const string Kvm = "kvm";
    private const string Emulator = "tcg";

    private static readonly Lock s_gate = new();
    private static readonly HashSet<GuestKernel> s_prepared = [];
    private static string? s_recipe;

    /// <summary>The folder.</summary>
    public static string Folder { get; } = Path.Combine(CacheHome(), "polyblk", "machine");

    /// <summary>Told what is being fetched or built, a line each; it may take minutes the first time.</summary>
    public static Action<string> OnProgress { get; set; } = _ => { };

    /// <summary>The kernel's short name, as in "6.12".</summary>
    public static string NameOf(GuestKernel kernel) => kernel == GuestKernel.Linux612 ? "6.12" : "7.3";

    /// <summary>What boots this kernel; prepares it if that has not been done.</summary>
    /// <exception cref="MachineException">Preparing failed; the message says why.</exception>
    public static BootImage Image(GuestKernel kernel)
    {
        if (IsSealed)
            return new BootImage(NameOf(kernel), Path.Combine(Folder, SealedKernel), [.. Directory.GetFiles(Folder, SealedInitramfs + "*").Order(StringComparer.Ordinal)]);
        string recipe = Prepare(kernel);
        string folder = Path.Combine(Folder, NameOf(kernel));
        string unpacked = Path.Combine(folder, "vmlinux");
        return new BootImage(NameOf(kernel), Path.Combine(folder, "vmlinuz"), [Path.Combine(folder, $"base-{recipe}.cpio")])
        {
            UnpackedKernelPath = File.Exists(unpacked) ? unpacked : null,
        };
    }

    /// <summary>The release of a prepared kernel, as uname says it.</summary>
    public static string Release(GuestKernel kernel)
    {
        _ = Prepare(kernel);
        return File.ReadAllText(Path.Combine(Folder, NameOf(kernel), "release")).Trim();
    }

    /// <summary>
    /// The accelerator QEMU shall use: "kvm" where a guest was seen to boot with it, else "tcg" (emulation). Where nothing can be
    /// prepared to find that out, it is "kvm" where the device may be opened. The environment variable POLYBLK_GUEST_ACCEL
    /// overrides it.
    /// </summary>
    public static string Accelerator()
    {
        if (Environment.GetEnvironmentVariable("POLYBLK_GUEST_ACCEL") is string chosen) return chosen;
        if (IsSealed) return MayOpenKvm() ? Kvm : Emulator;
        try
        {
            _ = Prepare(s_prepared.FirstOrDefault(GuestKernel.Linux73));
            return File.ReadLines(Path.Combine(Folder, "accel")).First();
        }
        catch (MachineException)
        {
            return MayOpenKvm() ? Kvm : Emulator; // an image of the user's own needs nothing that is prepared
        }
    }

    /// <summary>Whether machines are emulated: no accelerator runs their processors.</summary>
    public static bool IsEmulated() => Accelerator() == Emulator;

    /// <summary>Busybox, init and the script's functions, without modules.</summary>
    internal static string PlainInitramfs() => Path.Combine(Folder, $"plain-{Prepare(GuestKernel.Linux73)}.cpio");

    /// <summary>The files of a sealed cache from which this image is booted, and where they are in the machine.</summary>
    internal static IEnumerable<(string Source, string GuestPath)> Seal(BootImage image) =>
    [
        (image.KernelPath, Path.Combine(FolderInMachine, SealedKernel)),
        .. image.InitramfsPaths.Select((path, i) => (path, Path.Combine(FolderInMachine, SealedInitramfs + i.ToString(CultureInfo.InvariantCulture)))),
    ];

    private static bool IsSealed => File.Exists(Path.Combine(Folder, SealedKernel));

    private static bool MayOpenKvm()
    {
        try
        {
            using FileStream device = new("/dev/kvm", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, 0);
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private static string CacheHome()
    {
        string? set = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
        return string.IsNullOrEmpty(set) ? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache") : set;
    }

    /// <summary>Runs the preparation, which returns at once when nothing is to be done.</summary>
    private static string Prepare(GuestKernel kernel)
    {
        lock (s_gate)
        {
            if (s_recipe is null || !s_prepared.Contains(kernel))
            {
                s_recipe = RunScript(NameOf(kernel));
                s_prepared.Add(kernel);
            }

            return s_recipe;
        }
    }

    private static string RunScript(string kernel)
    {
        string script = Path.Combine(AppContext.BaseDirectory, "machine", "prepare");
        var start = new ProcessStartInfo("bash", [script, kernel])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
        };
        using Process process = Process.Start(start)!;
        process.StandardInput.Close();
        Task<List<string>> messages = ReadMessagesAsync(process.StandardError);
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0
            ? output.Trim()
            : throw new MachineException($"A virtual machine could not be prepared: {string.Join('\n', messages.Result)}");
    }

    private static async Task<List<string>> ReadMessagesAsync(StreamReader reader)
    {
        var lines = new List<string>();
        while (await reader.ReadLineAsync().ConfigureAwait(false) is string line)
        {
            lines.Add(line);
            OnProgress(line);
        }

        return lines;
    }
}
