// The methods of the guest vantage: what a virtual machine can have as its disk. Targets and volumes are others than those of the
// host vantage, so that both can be measured in one comparison; all of them belong to one machine.

using Polyblk.Compare.Guest;
using Polyblk.Compare.Load;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Results;
using Polyblk.Frontends;
using Polyblk.Machine;

namespace Polyblk.Cli.CommandLine;

/// <summary>Makes them.</summary>
/// <param name="frontends">This program's frontends, for their probes.</param>
/// <param name="program">How to run this program as a child.</param>
/// <param name="level">Level of the volume.</param>
/// <param name="guest">The machine that is wanted.</param>
internal sealed class CompareGuestMethods(IEnumerable<IFrontend> frontends, PolyblkProgram program, string level, CompareGuestRequest guest)
{
    /// <summary>Of names of volumes and files, beside those of the host vantage.</summary>
    private const string Prefix = "guest";

    private readonly Dictionary<string, FrontendProbe> _probes = frontends.ToDictionary(f => f.Name, f => f.Probe());

    /// <summary>The machine's processors, which bound the queues that its driver uses.</summary>
    private int Queues => Math.Max(2, guest.Cpus);

    private string Title => CompareMethods.TitleOf(level);

    /// <summary>Every method of the guest vantage; the first is what ratios refer to where the host is not looked at.</summary>
    public IReadOnlyList<IDeliveryMethod> All()
    {
        GuestSession session = NewSession();
        return [Bare(session), .. OfArray(() => session, isReadOnly: false), StorageDaemon(session)];
    }

    /// <summary>
    /// Every method for a volume of the user's. Its servers take turns on its drives, and so do their machines: each has its own.
    /// A method that needs drives of its own has a row that says so.
    /// </summary>
    public IReadOnlyList<IDeliveryMethod> OfVolume(ComparedVolume volume) =>
        [.. OfArray(NewSession, volume.Kept is not null), new ScratchOnly(StorageDaemon(NewSession()))];

    private GuestSession NewSession() => new(guest.System);

    /// <summary>This program's frontends.</summary>
    /// <param name="sessionOf">Gives each server's methods their machine.</param>
    /// <param name="isReadOnly">Whether disks are.</param>
    private IEnumerable<IDeliveryMethod> OfArray(Func<GuestSession> sessionOf, bool isReadOnly)
    {
        int iothreads = Queues;
        GuestSession session = sessionOf();
        var array = new PolyblkServer(program, $"{Prefix}-array", level,
        [
            new ServerExport("vhost-user", true, ["--queues", "1"]),
            new ServerExport("vhost-user", true, ["--queues", $"{Queues}"]),
            new ServerExport("nbd", true, []),
        ]);
        return
        [
            VhostUser(session, array, 0, 1),
            VhostUser(session, array, 1, Queues),
            ByNbd(session, isReadOnly, array, "virtio-iothread", "1t", $"virtio-iothread over NBD, 1 iothread, {Title}", 1),
            ByNbd(session, isReadOnly, array, "virtio-iothread", $"{iothreads}t", $"virtio-iothread over NBD, {iothreads} iothreads, {Title}", iothreads),
            ByNbd(session, isReadOnly, array, "nbd", string.Empty, $"nbd, QEMU's main thread, {Title}", 0),
            .. ByUblk(sessionOf(), isReadOnly),
            ByVduse(sessionOf(), isReadOnly),
            Vduse(sessionOf()),
        ];
    }

    /// <summary>Disks of a machine that the user runs. One that is named after a frontend counts as that frontend.</summary>
    public static IEnumerable<IDeliveryMethod> Ssh(IEnumerable<IFrontend> frontends, CompareGuestRequest guest)
    {
        if (guest.SshDestination is not string destination)
        {
            yield break;
        }

        var machine = new SshMachine(destination);
        foreach ((string name, string device) in guest.SshDisks)
        {
            string title = $"{name}, {device} of {destination}";
            MethodFacts facts = frontends.FirstOrDefault(f => name == f.Name || name.StartsWith(f.Name + "-", StringComparison.Ordinal)) is IFrontend frontend
                ? KnownFacts.Frontend(frontend.Name, string.Empty, title, Vantage.Guest)
                : KnownFacts.Peer(name, string.Empty, title, Vantage.Guest, Backing.Volume, new MethodNeeds()) with { Reaches = [Consumer.Vm] };
            yield return new SshDisk(machine, facts with { Id = $"{name}-ssh@guest" }, device);
        }
    }

    private GuestMethod Bare(GuestSession session) => new(
        session,
        KnownFacts.Bare("qemu-file", "bare drive, QEMU's virtio-blk", Backing.Drive) with { Id = "qemu-file@guest", Frontend = "qemu", Vantage = Vantage.Guest, Reaches = [Consumer.Vm] },
        new BareFile(fileName: $"{Prefix}-bare.img"),
        e => new FileDisk(((FileEndpoint)e).Path, Queues, 1))
    {
        Description = "one member-sized file, opened by QEMU itself with one iothread; a disk of the virtual machine",
    };

    private GuestMethod VhostUser(GuestSession session, PolyblkServer server, int export, int queues)
    {
        string title = $"vhost-user, {Title}, {queues} queue{(queues == 1 ? "" : "s")}";
        MethodFacts facts = KnownFacts.Frontend("vhost-user", $"{queues}q", title, Vantage.Guest, isMultiQueue: queues > 1);
        var inner = new PolyblkMethod(
            facts, $"polyblk serving the {Title} volume, {queues} queue{(queues == 1 ? "" : "s")}", server, export, () => Availability("vhost-user"), (path, size) => new VhostUserEndpoint(path, queues, size));
        return new GuestMethod(session, facts, inner, e => new VhostUserDisk(((VhostUserEndpoint)e).SocketPath, queues));
    }

    private GuestMethod ByNbd(GuestSession session, bool isReadOnly, PolyblkServer server, string frontend, string variant, string title, int iothreads)
    {
        MethodFacts facts = KnownFacts.Frontend(frontend, variant, title, Vantage.Guest, isMultiQueue: iothreads > 1);
        var inner = new PolyblkMethod(
            facts, $"polyblk serving the {Title} volume by NBD to QEMU's virtio-blk with {ThreadsOf(iothreads)}", server, 2, () => Availability(frontend), (path, size) => new NbdEndpoint(path, server.Volume, size));
        return new GuestMethod(session, facts, inner, e => new NbdDisk(((NbdEndpoint)e).SocketPath, ((NbdEndpoint)e).ExportName, Queues, iothreads, isReadOnly));
    }

    /// <summary>
    /// What `serve --frontend virtio-iothread` chooses where the host has ublk: QEMU opens the block device. One server, a device
    /// for each method.
    /// </summary>
    private IEnumerable<GuestMethod> ByUblk(GuestSession session, bool isReadOnly)
    {
        (string Frontend, string Variant, string Title, int Iothreads)[] variants =
        [
            ("virtio-iothread", "ublk-1t", "virtio-iothread over ublk, 1 iothread", 1),
            ("virtio-iothread", $"ublk-{Queues}t", $"virtio-iothread over ublk, {Queues} iothreads", Queues),
            ("ublk", "host-device", "ublk, QEMU's main thread", 0),
        ];
        var server = new PolyblkServer(
            program, $"{Prefix}-ublk-{Environment.ProcessId}", level, [.. variants.Select(_ => new ServerExport("ublk", false, ["--queues", $"{Queues}"]))]);
        foreach ((int export, (string frontend, string variant, string title, int iothreads)) in variants.Index())
        {
            MethodFacts facts = KnownFacts.Frontend(frontend, variant, $"{title}, {Title}", Vantage.Guest, isMultiQueue: iothreads > 1).OnKernel(_probes.GetValueOrDefault("ublk")?.Facts) with
            {
                CopyMode = "through /dev/ublkbN, which QEMU opens with io_uring and without a cache",
                Needs = KnownFacts.Frontend("ublk", variant, title, Vantage.Guest).Needs with { Programs = ["QEMU from 9.0 on"] },
            };
            var inner = new PolyblkMethod(
                facts, $"polyblk serving the {Title} volume as /dev/ublkbN to QEMU's virtio-blk with {ThreadsOf(iothreads)}", server, export,
                () => Availability(frontend) is { CanRun: false } missing ? missing : Availability("ublk"), (path, size) => new BlockEndpoint(path, size))
            {
                CleanUp = scratch => KernelDevices.RemoveUblkAsync(server, scratch),
            };
            yield return new GuestMethod(session, facts, inner, e => new HostBlockDisk(((BlockEndpoint)e).Path, Queues, iothreads, isReadOnly));
        }
    }

    /// <summary>What `serve --frontend virtio-iothread` chooses where the host has VDUSE and no ublk.</summary>
    private GuestMethod ByVduse(GuestSession session, bool isReadOnly)
    {
        string name = $"pbv{Environment.ProcessId}";
        PolyblkServer server = VduseServer("vduse-qemu", name, "virtio");
        MethodFacts facts = KnownFacts.Frontend(
            "virtio-iothread", $"vduse-{Queues}t", $"virtio-iothread over VDUSE, {Queues} iothreads, {Title}", Vantage.Guest, isMultiQueue: true).OnKernel(_probes.GetValueOrDefault("vduse")?.Facts) with
        {
            CopyMode = "through VDUSE's block device, which QEMU opens with io_uring and without a cache",
            Needs = KnownFacts.Frontend("vduse", "virtio", string.Empty, Vantage.Host).Needs with { Programs = ["QEMU from 9.0 on", "vdpa"] },
        };
        var inner = new PolyblkMethod(
            facts, $"polyblk serving the {Title} volume as VDUSE's block device to QEMU's virtio-blk with {ThreadsOf(Queues)}", server, 0,
            () => Availability("virtio-iothread") is { CanRun: false } missing ? missing : Availability("vduse"), (path, size) => new BlockEndpoint(path, size))
        {
            CleanUp = scratch => KernelDevices.RemoveVduseAsync(scratch, name),
        };
        return new GuestMethod(session, facts, inner, e => new HostBlockDisk(((BlockEndpoint)e).Path, Queues, Queues, isReadOnly));
    }

    private static string ThreadsOf(int iothreads) => iothreads == 0 ? "its main thread" : $"{iothreads} iothread{(iothreads == 1 ? "" : "s")}";

    private GuestMethod Vduse(GuestSession session)
    {
        string name = $"pbg{Environment.ProcessId}";
        PolyblkServer server = VduseServer("vduse", name, "vhost");
        MethodFacts facts = KnownFacts.Frontend("vduse", "vhost-vdpa", $"vduse, vhost_vdpa, {Title}", Vantage.Guest, isMultiQueue: true);
        var inner = new PolyblkMethod(
            facts, $"polyblk serving the {Title} volume through VDUSE and vhost_vdpa", server, 0, () => Availability("vduse"), (path, size) => new BlockEndpoint(path, size))
        {
            CleanUp = scratch => KernelDevices.RemoveVduseAsync(scratch, name),
        };
        return new GuestMethod(session, facts, inner, e => new VhostVdpaDisk(((BlockEndpoint)e).Path));
    }

    /// <summary>A server with one device on the vdpa bus, attached to a bus driver.</summary>
    private PolyblkServer VduseServer(string volume, string name, string attach) => new(
        program, $"{Prefix}-{volume}", level, [new ServerExport("vduse", false, ["--attach", attach, "--vduse-name", name, "--queues", $"{Queues}"])])
    {
        VduseName = name,
    };

    private static GuestMethod StorageDaemon(GuestSession session)
    {
        var inner = new QemuStorageDaemon($"{Prefix}-qsd");
        return new GuestMethod(
            session,
            inner.Facts with { Id = "qemu-storage-daemon-drive@guest", Vantage = Vantage.Guest },
            inner,
            e => new VhostUserDisk(((VhostUserEndpoint)e).SocketPath, 1));
    }

    private MethodAvailability Availability(string frontend) => MethodAvailability.OfFrontend(_probes, frontend, byFio: false);
}
