// A machine that boots a disk image of the user's own, and is reached by ssh.
//
// Theory of operation: QEMU writes to a layer (qcow2) in this machine's own folder, so that the image itself is only read and is
// the same for the next machine. A second disk is the volume that lets this program in and brings fio (CloudSeed). The network is
// QEMU's own, closed to the outside (restrict=on): the system in the image can fetch nothing while it is measured. Port 22 of the
// machine is a port of this host's loopback address. Keys are made for this machine alone. The serial console, with the
// firmware's words, is the log.

using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace Polyblk.Machine;

/// <summary>What a machine with an image shall be.</summary>
/// <param name="Image">What is booted.</param>
/// <param name="MemoryMib">Memory in MiB.</param>
/// <param name="Cpus">Virtual processors.</param>
/// <param name="HostCpus">The host's processors that QEMU may use; none: all.</param>
/// <param name="Limit">How long it may run.</param>
/// <param name="Disks">Further disks. Each has its place on the PCI bus (<see cref="GuestDisk.SlotOf"/>).</param>
/// <param name="Programs">Programs of this host that are offered to it.</param>
public sealed record ImageVmSettings(
    DiskImage Image, int MemoryMib, int Cpus, IReadOnlyList<int> HostCpus, TimeSpan Limit, IReadOnlyList<GuestDisk> Disks, IReadOnlyList<string> Programs);

/// <summary>A running machine. Disposing kills it and removes its files.</summary>
public sealed partial class ImageVm : IAsyncDisposable
{
    /// <summary>
    /// The slot, in hexadecimal, of the disk with programs of this host: a FAT file system in its first partition, which has
    /// bin/NAME.
    /// </summary>
    public const string ProgramsSlot = "03";

    private const string FolderPrefix = "polyblk-image-";

    /// <summary>What QEMU says when another program was given the port in the meantime.</summary>
    private const string PortIsTaken = "Could not set up host forwarding rule";

    private static readonly TimeSpan s_grace = TimeSpan.FromSeconds(2);

    private readonly OwnedFolder _folder;
    private readonly ImageVmSettings _settings;
    private readonly int _port;
    private readonly Process _qemu;
    private readonly Task _console;
    private readonly Lock _gate = new();
    private readonly StringBuilder _log = new();
    private bool _isDead, _isDisposed;

    private ImageVm(ImageVmSettings settings, OwnedFolder folder)
    {
        (_settings, _folder, _port) = (settings, folder, FreePort());
        _ = HostProgram.Run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "polyblk", "-f", KeyPath);
        CloudSeed.Write(SeedFolder, File.ReadAllText(KeyPath + ".pub"), settings.Programs);
        _ = HostProgram.Run("qemu-img", "create", "-q", "-f", "qcow2", "-F", settings.Image.Format, "-b", settings.Image.Path, LayerPath);
        _qemu = BoundProcess.Start(QemuProgram.Command(settings.HostCpus, settings.Limit, Arguments()));
        _qemu.StandardInput.Close();
        _console = Task.WhenAll(LogAsync(_qemu.StandardOutput), LogAsync(_qemu.StandardError));
    }

    /// <summary>Arguments of ssh(1) with which it reaches this machine and looks at nothing of the user's.</summary>
    public IReadOnlyList<string> SshOptions =>
    [
        "-F", "none", "-p", _port.ToString(CultureInfo.InvariantCulture), "-i", KeyPath, "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
        "-o", $"UserKnownHostsFile={_folder.Path}/known", "-o", "GlobalKnownHostsFile=none", "-o", "StrictHostKeyChecking=accept-new", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=20",
    ];

    /// <summary>QEMU's own process id, or null when it has ended.</summary>
    public int? QemuProcessId => QemuProgram.ProcessIdBelow(_qemu);

    /// <summary>Whether the machine has ended.</summary>
    public bool HasEnded => _qemu.HasExited;

    /// <summary>Whether nothing will come of it any more, although it goes on: it can be given up, and begun anew.</summary>
    public bool IsDead => Volatile.Read(ref _isDead);

    private string KeyPath => Path.Combine(_folder.Path, "key");
    private string SeedFolder => Path.Combine(_folder.Path, "seed");
    private string LayerPath => Path.Combine(_folder.Path, "layer.qcow2");

    /// <summary>Starts the machine; it takes its time until it can be reached.</summary>
    /// <exception cref="MachineException">Something for it is missing here.</exception>
    public static ImageVm Start(ImageVmSettings settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        string place = Path.GetTempPath();
        OwnedFolder.RemoveAbandoned(place, FolderPrefix);
        OwnedFolder folder = OwnedFolder.Create(place, FolderPrefix);
        try
        {
            return new ImageVm(settings, folder);
        }
        catch
        {
            folder.Dispose();
            throw;
        }
    }

    /// <summary>
    /// An exception with the end of the console's log. It is the machine's own fault if QEMU broke down, or its port was taken.
    /// </summary>
    public async Task<GuestException> FailureAsync(string what)
    {
        // What is seen first of a QEMU that broke down may be a connection that went with it.
        await Task.WhenAny(_qemu.WaitForExitAsync(CancellationToken.None), Task.Delay(s_grace)).ConfigureAwait(false);
        if (_qemu.HasExited) await _console.ConfigureAwait(false);
        string log;
        lock (_gate) log = _log.ToString();
        bool isFault = IsDead || (_qemu.HasExited
            && (QemuProgram.IsBreakdown(_qemu.ExitCode, log) || log.Contains(PortIsTaken, StringComparison.Ordinal)));
        string end = _qemu.HasExited ? $" QEMU ended with {_qemu.ExitCode}." : "";
        return new GuestException(GuestResult.Explain($"{what}{end} The end of the machine's console:", log, null)) { IsMachineFault = isFault };
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_isDisposed) return;
        _isDisposed = true;
        if (!_qemu.HasExited) _qemu.Kill(entireProcessTree: true);
        await _qemu.WaitForExitAsync();
        await _console;
        _qemu.Dispose();
        _folder.Dispose();
    }

    private IEnumerable<string> Arguments()
    {
        var system = new JsonObject
        {
            ["driver"] = "qcow2", ["node-name"] = "system", ["discard"] = "unmap", ["cache"] = new JsonObject { ["no-flush"] = true },
            ["file"] = new JsonObject { ["driver"] = "file", ["filename"] = LayerPath },
        };
        var seed = new JsonObject { ["driver"] = "vvfat", ["node-name"] = "seed", ["dir"] = SeedFolder, ["label"] = CloudSeed.Label, ["read-only"] = true };
        return
        [
            .. QemuProgram.Machine("memory-backend-memfd", _settings.MemoryMib, _settings.Cpus),
            // The firmware speaks on the serial console where there is no screen, leaves all disks but the image alone, and ends
            // the machine (-no-reboot) when that does not boot.
            "-machine", "graphics=off", "-boot", "strict=on,reboot-timeout=1000",
            "-blockdev", system.ToJsonString(), "-device", "virtio-blk-pci,drive=system,addr=02,bootindex=0",
            "-blockdev", seed.ToJsonString(), "-device", $"virtio-blk-pci,drive=seed,addr={ProgramsSlot}",
            "-netdev", $"user,id=net,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:{_port}-:22", "-device", "virtio-net-pci,netdev=net,addr=04,romfile=",
            "-device", "virtio-rng-pci,addr=05",
            .. _settings.Disks.SelectMany((disk, index) => disk.CommandLine(GuestDisk.SlotOf(index))),
        ];
    }

    private async Task LogAsync(StreamReader reader)
    {
        while (await reader.ReadLineAsync() is { } line)
        {
            string said = TerminalControl().Replace(line, "").TrimEnd('\r');
            lock (_gate) _log.AppendLine(said);
            if (QemuProgram.IsDead(said)) Volatile.Write(ref _isDead, true);
        }
    }

    /// <summary>What firmware and boot loaders send to clear a terminal or to colour it; the log may be shown on one.</summary>
    [GeneratedRegex(@"\x1b(\[[0-9;?]*[A-Za-z]|.)", RegexOptions.CultureInvariant)]
    private static partial Regex TerminalControl();

    private static int FreePort()
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }
}
