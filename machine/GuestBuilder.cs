// Describes a guest: the kernel, the machine, the files added to its initramfs, the devices, the script.
//
// Theory of operation: a guest is a kernel with an initramfs of two archives, one after the other: the prepared base (busybox,
// kernel modules, init; MachineCache) and one with what this guest needs (GuestInitramfs). The script is run by init with
// lib.sh's functions at hand.

using System.Globalization;

namespace Polyblk.Machine;

/// <summary>Collects what a guest shall be; <see cref="Start"/> boots it. Each method returns the builder.</summary>
public class GuestBuilder
{
    private readonly Lazy<BootImage> _image;
    private readonly GuestInitramfs _initramfs = new();
    private readonly List<string> _qemuArguments = [];
    private string _kernelArguments = "";
    private int _devices;
    private int _disks;

    /// <summary>A guest with a kernel of the distribution; its name is that of its log file.</summary>
    public GuestBuilder(string name, GuestKernel kernel) => (Name, _image) = (name, new(() => MachineCache.Image(kernel)));

    /// <summary>A guest that boots something of the user's own.</summary>
    public GuestBuilder(string name, BootImage image) => (Name, _image) = (name, new(image));

    /// <summary>What stands in the log file's name.</summary>
    public string Name { get; }

    internal BootImage Image => _image.Value;
    internal GuestInitramfs Initramfs => _initramfs;
    internal IReadOnlyList<int> HostCpus { get; private set; } = [];
    internal string? LogFolder { get; private set; }
    internal Action<string>? OnOutput { get; private set; }
    internal int MemoryMib { get; private set; } = 1024;
    internal string MemoryBackend { get; private set; } = "memory-backend-memfd";
    internal int CpuCount { get; private set; } = 2;
    internal TimeSpan BootLimit { get; private set; } = TimeSpan.FromSeconds(180);
    internal TimeSpan Limit { get; private set; } = TimeSpan.FromMinutes(5);
    internal IReadOnlyList<string> QemuArguments => _qemuArguments;
    internal string KernelArguments => _kernelArguments;

    /// <summary>
    /// Guest memory in MiB, at least 512; the initramfs lives in it. It is shared (a memfd), as vhost-user needs.
    /// </summary>
    public GuestBuilder Memory(int mib)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(mib, 512);
        MemoryMib = mib;
        return this;
    }

    /// <summary>
    /// Where the memory lives: QEMU's backend object with its properties, without id and size. A memfd by default.
    /// </summary>
    public GuestBuilder MemoryIn(string backend)
    {
        MemoryBackend = backend;
        return this;
    }

    /// <summary>The number of virtual CPUs, 1 to 16.</summary>
    public GuestBuilder Cpus(int count)
    {
        CpuCount = count is >= 1 and <= 16 ? count : throw new ArgumentOutOfRangeException(nameof(count), count, "1 to 16");
        return this;
    }

    /// <summary>The host's processors that QEMU may use; none named: all.</summary>
    public GuestBuilder PinTo(IReadOnlyList<int> hostCpus)
    {
        HostCpus = hostCpus;
        return this;
    }

    /// <summary>The time from start to the script's end after which the guest is stopped; the default of 5 minutes suits a
    /// slow, shared machine without hardware virtualisation.</summary>
    public GuestBuilder Timeout(TimeSpan limit)
    {
        Limit = limit;
        return this;
    }

    /// <summary>Adds programs of the host with their libraries, at the same paths; names are looked up in PATH.</summary>
    public GuestBuilder Programs(params string[] names)
    {
        foreach (string name in names) _initramfs.AddProgram(HostProgram.Find(name));
        return this;
    }

    /// <summary>
    /// Adds a library of the host, with those that it needs itself, at the same paths: for programs that load it when they run.
    /// </summary>
    public GuestBuilder Library(string path)
    {
        _initramfs.AddProgram(path);
        return this;
    }

    /// <summary>Adds a file of the host, or a folder with all below it.</summary>
    public GuestBuilder File(string source, string guestPath)
    {
        _initramfs.AddFile(source, guestPath);
        return this;
    }

    /// <summary>Adds an executable text file.</summary>
    public GuestBuilder Text(string guestPath, string text)
    {
        _initramfs.AddText(guestPath, text);
        return this;
    }

    /// <summary>
    /// Adds the shared .NET runtime that this process runs on, as the command dotnet. Give the guest 1.5 GiB or more. That memory
    /// is never writable and executable at once (W^X) is switched off: it protects nobody in a machine that runs one program, and
    /// takes a part of each start.
    /// </summary>
    public GuestBuilder DotNet()
    {
        _initramfs.AddDotNet();
        return this;
    }

    /// <summary>Sets a variable of the .NET runtime for the command dotnet, as in DOTNET_TieredPGO.</summary>
    public GuestBuilder Runtime(string variable, string value)
    {
        _initramfs.SetRuntime(variable, value);
        return this;
    }

    /// <summary>
    /// Adds polyblk's command line from its folder, as the command polyblk: the program of machine code for the machine's
    /// processor, or where that folder is one of assemblies, these and the .NET runtime.
    /// </summary>
    /// <exception cref="MachineException">The folder has none for the machine's processor.</exception>
    public GuestBuilder Polyblk(string folder)
    {
        if (!NativeProgram.IsIn(folder))
            return DotNet().File(folder, "/opt/polyblk").Text("/usr/bin/polyblk", "#!/bin/sh\nexec dotnet /opt/polyblk/polyblk.dll \"$@\"\n");
        string native = MachineCache.IsEmulated() ? NativeProgram.ForEmulatedMachine(folder) : folder;
        _initramfs.AddLibrariesOf(Path.Combine(native, NativeProgram.Name));
        return File(native, "/opt/polyblk").Text("/usr/bin/polyblk", "#!/bin/sh\nexec /opt/polyblk/polyblk \"$@\"\n");
    }

    /// <summary>
    /// Adds what the guest needs to start machines by this program's own means: QEMU, and this guest's kernel. Give it a gigabyte
    /// for each. Where its processor has virtualisation, also an emulated one, they run by KVM.
    /// </summary>
    /// <exception cref="MachineException">QEMU is not installed.</exception>
    public GuestBuilder Machines()
    {
        NestedMachine.AddTo(_initramfs, Image);
        _initramfs.Prelude += NestedMachine.Prelude;
        return this;
    }

    /// <summary>Adds words to the kernel's command line.</summary>
    public GuestBuilder KernelArgument(string words)
    {
        _kernelArguments += " " + words;
        return this;
    }

    /// <summary>Adds arguments to QEMU's command line.</summary>
    public GuestBuilder Qemu(params string[] arguments)
    {
        _qemuArguments.AddRange(arguments);
        return this;
    }

    /// <summary>
    /// Adds a vhost-user-blk disk served at a socket that is already listening (or will be, with a reconnect time).
    /// </summary>
    /// <param name="socketPath">The backend's UNIX socket.</param>
    /// <param name="queues">The number of request queues.</param>
    /// <param name="reconnectMs">Milliseconds between attempts to connect again after the backend has gone; 0: never.</param>
    /// <param name="properties">More properties of the device, as in ",queue-size=256,packed=on".</param>
    public GuestBuilder VhostUserBlk(string socketPath, int queues = 1, int reconnectMs = 0, string properties = "")
    {
        string id = string.Create(CultureInfo.InvariantCulture, $"vu{_devices++}");
        string reconnect = reconnectMs > 0 ? $",reconnect-ms={reconnectMs}" : "";
        return Qemu("-chardev", $"socket,id={id},path={socketPath}{reconnect}",
            "-device", $"vhost-user-blk-pci,chardev={id},num-queues={queues}{properties}");
    }

    /// <summary>
    /// Adds a disk. Returns its slot: the script finds the device with <c>disk SLOT</c>, whatever the kernel calls it.
    /// </summary>
    /// <exception cref="InvalidOperationException">There is no room on the bus.</exception>
    public string Disk(GuestDisk disk)
    {
        ArgumentNullException.ThrowIfNull(disk);
        string slot = GuestDisk.SlotOf(_disks++);
        _qemuArguments.AddRange(disk.CommandLine(slot));
        return slot;
    }

    /// <summary>Told each line that the script's <c>relay COMMAND</c> writes.</summary>
    public GuestBuilder Output(Action<string> onLine)
    {
        OnOutput = onLine;
        return this;
    }

    /// <summary>A folder that keeps the guest's log.</summary>
    public GuestBuilder LogTo(string folder)
    {
        LogFolder = folder;
        return this;
    }

    /// <summary>The script: busybox sh, with the functions of lib.sh.</summary>
    public GuestBuilder Script(string script)
    {
        _initramfs.Script = script;
        return this;
    }

    /// <summary>Writes the kernel and the initramfs that would be booted, for another boot loader.</summary>
    public void WriteTo(string kernelPath, string initramfsPath)
    {
        System.IO.File.Copy(Image.KernelPath, kernelPath, overwrite: true);
        _initramfs.Write(Image, initramfsPath);
    }

    /// <summary>
    /// How long the kernel may take to come to init (default 180 s; emulated it takes 5 to 20), in processor time of QEMU, and
    /// four times as long by the clock: the host may be busy. One that takes longer counts as a fault of the machine.
    /// </summary>
    public GuestBuilder BootWithin(TimeSpan limit)
    {
        BootLimit = limit;
        return this;
    }

    /// <summary>Boots the guest.</summary>
    /// <exception cref="MachineException">Something that a machine needs is missing here; the message says what to
    /// do.</exception>
    public GuestVm Start() => GuestVm.Start(this);
}
