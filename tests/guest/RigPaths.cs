// Where the rig finds things: the repository, the cache that tests/guest/prepare fills, the clients that ./test installs.

using System.Diagnostics;

namespace Polyblk.GuestRig;

/// <summary>The kernels a guest can run.</summary>
public enum GuestKernel
{
    /// <summary>Linux 6.12, a long-term release: ublk without zero copy, VDUSE API version 0.</summary>
    Linux612,

    /// <summary>Linux 7.3 or later, from the newest backports.</summary>
    Linux73,
}

/// <summary>Places that tests share.</summary>
public static class RigPaths
{
    private static readonly Lazy<bool> Prepared = new(Prepare);

    /// <summary>The repository's folder: the nearest one above the running program that holds Frontends.sln.</summary>
    public static string Repository { get; } = FindRepository();

    /// <summary>The cache of everything downloaded or built for tests.</summary>
    public static string Cache { get; } = Path.Combine(CacheHome(), "polyblk");

    /// <summary>The folder of a prepared kernel; prepares all kernels if that has not been done.</summary>
    /// <exception cref="InvalidOperationException">Preparing failed; the message carries its output.</exception>
    public static string KernelFolder(GuestKernel kernel)
    {
        _ = Prepared.Value;
        return Path.Combine(Cache, "guest", NameOf(kernel));
    }

    /// <summary>The accelerator QEMU shall use: "kvm" where a guest was seen to boot with it, else "tcg" (emulation).
    /// The environment variable POLYBLK_GUEST_ACCEL overrides it.</summary>
    public static string Accelerator()
    {
        _ = Prepared.Value;
        return Environment.GetEnvironmentVariable("POLYBLK_GUEST_ACCEL")
            ?? File.ReadLines(Path.Combine(Cache, "guest", "accel")).First();
    }

    /// <summary>The published or built folder of the command line program, for guests that run it.</summary>
    public static string CommandLineFolder => Path.Combine(Repository, "artifacts", "bin", "Polyblk.Cli", "release");

    /// <summary>The kernel's short name, as in "6.12".</summary>
    public static string NameOf(GuestKernel kernel) => kernel == GuestKernel.Linux612 ? "6.12" : "7.3";

    /// <summary>Finds a program by name as root's shell would, or throws with what to do.</summary>
    public static string Program(string name)
    {
        if (name.StartsWith('/')) return File.Exists(name) ? name : throw Missing(name);
        string path = (Environment.GetEnvironmentVariable("PATH") ?? "") + ":/usr/sbin:/sbin:/usr/bin:/bin";
        return path.Split(':', StringSplitOptions.RemoveEmptyEntries).Select(folder => Path.Combine(folder, name))
            .FirstOrDefault(File.Exists) ?? throw Missing(name);
    }

    private static FileNotFoundException Missing(string name) =>
        new($"The program '{name}' is not installed; ./test installs what the tests need (tests/setup/install).");

    private static string CacheHome()
    {
        string? set = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
        return string.IsNullOrEmpty(set)
            ? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache")
            : set;
    }

    private static string FindRepository()
    {
        for (string? folder = AppContext.BaseDirectory; folder is not null; folder = Path.GetDirectoryName(folder))
            if (File.Exists(Path.Combine(folder, "Frontends.sln"))) return folder;
        throw new DirectoryNotFoundException($"No folder above {AppContext.BaseDirectory} holds Frontends.sln.");
    }

    /// <summary>Runs the preparation, which returns at once when nothing is to be done.</summary>
    private static bool Prepare()
    {
        var start = new ProcessStartInfo(Path.Combine(Repository, "tests", "guest", "prepare"))
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
        };
        using Process process = Process.Start(start)!;
        process.StandardInput.Close();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0
            ? true
            : throw new InvalidOperationException($"tests/guest/prepare failed ({process.ExitCode}):\n{output}{errors.Result}");
    }
}
