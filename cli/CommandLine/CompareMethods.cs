// The methods that polyblk compare measures, in the order of its tables: baselines, then this program's frontends, then the
// peers.
//
// Each frontend of the kernel has a server and a volume of its own: when its driver fails, only its rows are lost. The sockets of
// one volume share a server, as they would in use.

using Polyblk.Compare.Load;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Results;
using Polyblk.Frontends;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.CommandLine;

/// <summary>Makes the methods of the host vantage.</summary>
/// <param name="frontends">This program's frontends, for their probes.</param>
/// <param name="program">How to run this program as a child.</param>
/// <param name="level">Level of the volume.</param>
/// <param name="queues">Queues of the multi-queue variants.</param>
internal sealed class CompareMethods(IEnumerable<IFrontend> frontends, PolyblkProgram program, string level, int queues)
{
    private const string ZeroCopy = "zero-copy";

    private static readonly string[] s_ublkModes = ["copy", "user-copy", ZeroCopy];

    private readonly Dictionary<string, FrontendProbe> _probes = frontends.ToDictionary(f => f.Name, f => f.Probe());

    /// <summary>RAID 5, not raid5, as the tables have it.</summary>
    public string LevelTitle => TitleOf(level);

    /// <summary>A level as the tables have it.</summary>
    public static string TitleOf(string level) => level.StartsWith("raid", StringComparison.Ordinal) ? $"RAID {level["raid".Length..]}" : "one drive";

    /// <summary>Every method of the host vantage.</summary>
    /// <param name="isInMemory">Whether the scratch files will lie in memory, where ublk cannot avoid copies.</param>
    public IReadOnlyList<IDeliveryMethod> Host(bool isInMemory) =>
    [
        new BareFile(),
        new BareFile(byFio: true),
        new ArrayInProcess(new CompareArrays(), level),
        .. Sockets(),
        .. s_ublkModes.Select(mode => Ublk(mode, isInMemory)),
        Vduse(),
        .. Peers(),
    ];

    private IEnumerable<IDeliveryMethod> Peers() =>
    [
        new QemuStorageDaemon(), new QemuStorageDaemonNbd(), new QemuStorageDaemonVduse(), .. level == VolumeOpener.NoLevel ? [] : new[] { new MdArray(level) }, new LoopDevice(),
    ];

    /// <summary>
    /// Every method for a volume of the user's: its drives, its array, this program's frontends, and rows for the peers.
    /// </summary>
    public IReadOnlyList<IDeliveryMethod> OfVolume(ComparedVolume volume)
    {
        string name = volume.Name;
        return
        [
            .. volume.Drives.Select((drive, i) => new VolumeMember(drive, i + 1)),
            new VolumeMember(volume.Drives[0], 1, byFio: true),
            .. volume.Level == VolumeOpener.NoLevel ? [] : new[] { new ArrayInProcess(new CompareArrays(), level) },
            .. OfArray(name),
            .. s_ublkModes.Select(mode => Ublk(mode, volume.IsInMemory)),
            Vduse(),
            .. Peers().Select(m => new ScratchOnly(m)),
        ];
    }

    private IEnumerable<IDeliveryMethod> Sockets()
    {
        var single = new PolyblkServer(program, "single", "none", [new ServerExport("vhost-user", true, ["--queues", "1"]), new ServerExport("nbd", true, [])]);
        yield return VhostUser("drive", "vhost-user, one file", "polyblk serving one member-sized file, one queue", single, 0, 1, Backing.Drive);
        yield return Nbd("drive", "nbd, one file", "one member-sized file", single, 1, Backing.Drive);
        foreach (IDeliveryMethod method in OfArray("array"))
        {
            yield return method;
        }
    }

    /// <summary>The sockets, all of one server.</summary>
    private IEnumerable<IDeliveryMethod> OfArray(string volume)
    {
        var array = new PolyblkServer(program, volume, level,
        [
            new ServerExport("vhost-user", true, ["--queues", "1"]),
            new ServerExport("vhost-user", true, ["--queues", $"{queues}"]),
            new ServerExport("nbd", true, []),
        ]);
        yield return VhostUser("1q", $"vhost-user, {LevelTitle}, 1 queue", $"polyblk serving the {LevelTitle} volume, one queue", array, 0, 1, Backing.Volume);
        yield return VhostUser(
            $"{queues}q", $"vhost-user, {LevelTitle}, {queues} queues", $"polyblk serving the {LevelTitle} volume, {queues} queues, a reactor on each processor of the target",
            array, 1, queues, Backing.Volume);
        yield return Nbd(string.Empty, $"nbd, {LevelTitle}", $"the {LevelTitle} volume", array, 2, Backing.Volume);
    }

    private PolyblkMethod Nbd(string variant, string title, string what, PolyblkServer server, int export, Backing backing) => new(
        KnownFacts.Frontend("nbd", variant, title, Vantage.Host, backing),
        $"polyblk serving {what} over a Unix socket, a connection for each job",
        server,
        export,
        () => Availability("nbd", byFio: true),
        (path, size) => new NbdEndpoint(path, server.Volume, size));

    private PolyblkMethod VhostUser(string variant, string title, string description, PolyblkServer server, int export, int count, Backing backing) => new(
        KnownFacts.Frontend("vhost-user", variant, title, Vantage.Host, backing, backing == Backing.Volume ? count > 1 : null),
        description,
        server,
        export,
        () => Availability("vhost-user", byFio: false),
        (path, size) => new VhostUserEndpoint(path, count, size));

    /// <summary>
    /// The volume's name has this process in it: by it the driver's devices are told from those of another comparison.
    /// </summary>
    private PolyblkMethod Ublk(string mode, bool isInMemory)
    {
        var server = new PolyblkServer(program, $"ublk-{mode}-{Environment.ProcessId}", level, [new ServerExport("ublk", false, ["--copy-mode", mode, "--queues", $"{queues}"])]);
        MethodFacts facts = KnownFacts.Frontend("ublk", mode, $"ublk, {mode}, {LevelTitle}", Vantage.Host, isMultiQueue: true).OnKernel(_probes.GetValueOrDefault("ublk")?.Facts) with { CopyMode = mode };
        return new PolyblkMethod(
            facts, $"polyblk serving the {LevelTitle} volume as /dev/ublkbN, {mode}", server, 0, () => UblkAvailability(mode, isInMemory), (path, size) => new BlockEndpoint(path, size))
        {
            CleanUp = scratch => KernelDevices.RemoveUblkAsync(server, scratch),
        };
    }

    private PolyblkMethod Vduse()
    {
        string name = $"pbc{Environment.ProcessId}";
        var server = new PolyblkServer(
            program, "vduse", level, [new ServerExport("vduse", false, ["--attach", "virtio", "--vduse-name", name, "--queues", $"{queues}"])])
        {
            VduseName = name,
        };
        return new PolyblkMethod(
            KnownFacts.Frontend("vduse", "virtio", $"vduse, virtio_vdpa, {LevelTitle}", Vantage.Host, isMultiQueue: true),
            $"polyblk serving the {LevelTitle} volume through VDUSE, attached to this host by virtio_vdpa",
            server,
            0,
            () => Availability("vduse", byFio: true),
            (path, size) => new BlockEndpoint(path, size))
        {
            CleanUp = scratch => KernelDevices.RemoveVduseAsync(scratch, name),
        };
    }

    private MethodAvailability UblkAvailability(string mode, bool isInMemory)
    {
        // What installing fio would not mend is said first.
        MethodAvailability availability = Availability("ublk", byFio: false);
        if (!availability.CanRun)
        {
            return availability;
        }

        string modes = _probes["ublk"].Facts.GetValueOrDefault("copy modes", string.Empty);
        return !modes.Split(", ").Contains(mode) ? new MethodAvailability(false, $"this kernel's ublk driver has no mode {mode} (it has {modes})", ["a newer kernel: see docs/frontends/ublk.md"])
            : mode == ZeroCopy && isInMemory ? new MethodAvailability(false, "files in memory are always copied", ["polyblk compare --dir DIR, on a disk"])
            : MethodAvailability.OfFio();
    }

    private MethodAvailability Availability(string frontend, bool byFio) => MethodAvailability.OfFrontend(_probes, frontend, byFio);
}
