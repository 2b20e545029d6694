// Describes a guest: the kernel, the machine, the files added to its initramfs, the devices, the script.
//
// Theory of operation: a guest is a Debian kernel with an initramfs of two archives, one after the other: the prepared base
// (busybox, kernel modules, init; tests/guest/prepare) and one written here with what this guest needs. Programs come from the
// host with every library that ldd names. The script is run by init with lib.sh's functions at hand.

using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;

namespace Polyblk.GuestRig;

/// <summary>Collects what a guest shall be; <see cref="Start"/> boots it. Each method returns the builder.</summary>
public sealed partial class GuestVmBuilder
{
    private const string DotNetFolder = "/usr/share/dotnet";
    private readonly List<string> _programs = [];
    private readonly List<(string Source, string Path)> _files = [];
    private readonly List<(string Path, string Text)> _texts = [];
    private readonly List<string> _qemuArguments = [];
    private string _script = "";
    private string _kernelArguments = "";
    private bool _dotNet;
    private int _devices;

    /// <summary>A guest named for its log file.</summary>
    public GuestVmBuilder(string name, GuestKernel kernel) => (Name, Kernel) = (name, kernel);

    internal string Name { get; }
    internal GuestKernel Kernel { get; }
    internal int MemoryMib { get; private set; } = 1024;
    internal string MemoryBackend { get; private set; } = "memory-backend-memfd";
    internal int CpuCount { get; private set; } = 2;
    internal TimeSpan Limit { get; private set; } = TimeSpan.FromMinutes(5);
    internal IReadOnlyList<string> QemuArguments => _qemuArguments;
    internal string KernelArguments => _kernelArguments;

    /// <summary>Guest memory in MiB, at least 512; the initramfs lives in it. It is shared (a memfd), as vhost-user needs.</summary>
    public GuestVmBuilder Memory(int mib)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(mib, 512);
        MemoryMib = mib;
        return this;
    }

    /// <summary>Where the memory lives: QEMU's backend object with its properties, without id and size. A memfd by default.</summary>
    public GuestVmBuilder MemoryIn(string backend)
    {
        MemoryBackend = backend;
        return this;
    }

    /// <summary>The number of virtual CPUs, 1 to 16.</summary>
    public GuestVmBuilder Cpus(int count)
    {
        CpuCount = count is >= 1 and <= 16 ? count : throw new ArgumentOutOfRangeException(nameof(count), count, "1 to 16");
        return this;
    }

    /// <summary>The time from start to the script's end after which the guest is stopped; the default of 5 minutes suits a
    /// slow, shared machine without hardware virtualisation.</summary>
    public GuestVmBuilder Timeout(TimeSpan limit)
    {
        Limit = limit;
        return this;
    }

    /// <summary>Adds programs of the host with their libraries, at the same paths; names are looked up in PATH.</summary>
    public GuestVmBuilder Programs(params string[] names)
    {
        _programs.AddRange(names.Select(RigPaths.Program));
        return this;
    }

    /// <summary>Adds a file of the host, or a folder with all below it.</summary>
    public GuestVmBuilder File(string source, string guestPath)
    {
        _files.Add((source, guestPath));
        return this;
    }

    /// <summary>Adds an executable text file.</summary>
    public GuestVmBuilder Text(string guestPath, string text)
    {
        _texts.Add((guestPath, text));
        return this;
    }

    /// <summary>Adds the shared .NET runtime that this process runs on, as the command dotnet. Give the guest 1.5 GiB or more.</summary>
    public GuestVmBuilder DotNet()
    {
        _dotNet = true;
        return this;
    }

    /// <summary>Adds the .NET runtime and polyblk's command line (as built beside the tests), as the commands dotnet and polyblk.</summary>
    public GuestVmBuilder Polyblk() =>
        DotNet().File(RigPaths.CommandLineFolder, "/opt/polyblk").Text("/usr/bin/polyblk", "#!/bin/sh\nexec dotnet /opt/polyblk/polyblk.dll \"$@\"\n");

    /// <summary>Adds words to the kernel's command line.</summary>
    public GuestVmBuilder KernelArgument(string words)
    {
        _kernelArguments += " " + words;
        return this;
    }

    /// <summary>Adds arguments to QEMU's command line.</summary>
    public GuestVmBuilder Qemu(params string[] arguments)
    {
        _qemuArguments.AddRange(arguments);
        return this;
    }

    /// <summary>Adds a vhost-user-blk disk served at a socket that is already listening (or will be, with a reconnect time).</summary>
    /// <param name="socketPath">The backend's UNIX socket.</param>
    /// <param name="queues">The number of request queues.</param>
    /// <param name="reconnectMs">Milliseconds between attempts to connect again after the backend has gone; 0: never.</param>
    /// <param name="properties">More properties of the device, as in ",queue-size=256,packed=on".</param>
    public GuestVmBuilder VhostUserBlk(string socketPath, int queues = 1, int reconnectMs = 0, string properties = "")
    {
        string id = string.Create(CultureInfo.InvariantCulture, $"vu{_devices++}");
        string reconnect = reconnectMs > 0 ? $",reconnect-ms={reconnectMs}" : "";
        return Qemu("-chardev", $"socket,id={id},path={socketPath}{reconnect}",
            "-device", $"vhost-user-blk-pci,chardev={id},num-queues={queues}{properties}");
    }

    /// <summary>The script: busybox sh, with the functions of tests/guest/lib.sh.</summary>
    public GuestVmBuilder Script(string script)
    {
        _script = script;
        return this;
    }

    /// <summary>Boots the guest.</summary>
    /// <exception cref="InvalidOperationException">The rig could not be prepared.</exception>
    public GuestVm Start() => GuestVm.Start(this);

    /// <summary>Writes the initramfs.</summary>
    internal void WriteInitramfs(string path)
    {
        using FileStream output = System.IO.File.Create(path, 1 << 20);
        using (FileStream basis = System.IO.File.OpenRead(Path.Combine(RigPaths.KernelFolder(Kernel), "base.cpio")))
            basis.CopyTo(output);
        using var archive = new CpioArchive(output);
        archive.AddText("/rig/run", ". /rig/lib.sh\n" + _script);
        foreach ((string guestPath, string text) in _texts) archive.AddText(guestPath, text);
        foreach ((string source, string guestPath) in _files)
        {
            if (Directory.Exists(source)) archive.AddFolder(source, guestPath);
            else archive.AddFile(source, guestPath);
        }

        foreach (string program in _programs) AddWithLibraries(archive, program, program);
        if (_dotNet) AddDotNet(archive);
    }

    private static void AddDotNet(CpioArchive archive)
    {
        string runtime = Path.GetDirectoryName(typeof(object).Assembly.Location)!;
        string root = Path.GetFullPath(Path.Combine(runtime, "..", "..", ".."));
        string version = Path.GetFileName(runtime);
        AddWithLibraries(archive, Path.Combine(root, "dotnet"), DotNetFolder + "/dotnet");
        archive.AddFolder(Path.Combine(root, "host", "fxr", version), $"{DotNetFolder}/host/fxr/{version}");
        archive.AddFolder(runtime, $"{DotNetFolder}/shared/Microsoft.NETCore.App/{version}");
        archive.AddText("/usr/bin/dotnet", $"#!/bin/sh\nexec {DotNetFolder}/dotnet \"$@\"\n");
        AddLibraries(archive, Path.Combine(runtime, "libcoreclr.so"));
        // The cryptography library looks OpenSSL up by itself.
        foreach (string library in new[] { "libssl.so.3", "libcrypto.so.3" })
        {
            string path = "/usr/lib/x86_64-linux-gnu/" + library;
            if (System.IO.File.Exists(path)) archive.AddFile(path, path);
        }
    }

    private static void AddWithLibraries(CpioArchive archive, string source, string guestPath)
    {
        archive.AddFile(source, guestPath);
        AddLibraries(archive, source);
    }

    private static void AddLibraries(CpioArchive archive, string binary)
    {
        using Process ldd = Process.Start(new ProcessStartInfo("ldd", [binary]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> errors = ldd.StandardError.ReadToEndAsync();
        string listing = ldd.StandardOutput.ReadToEnd();
        ldd.WaitForExit();
        if (listing.Contains("not found", StringComparison.Ordinal))
            throw new InvalidOperationException($"{binary} lacks a library:\n{listing}{errors.Result}");
        // "libx.so.1 => /lib/libx.so.1 (0x...)", or "/lib64/ld-linux-x86-64.so.2 (0x...)"; a static program has none.
        foreach (Match match in LibraryPath().Matches(listing)) archive.AddFile(match.Groups[1].Value, match.Groups[1].Value);
    }

    [GeneratedRegex(@"(/\S+) \(0x", RegexOptions.CultureInvariant)]
    private static partial Regex LibraryPath();
}
