using Polyblk.Compare.Load;
using Polyblk.Compare.Results;
using Polyblk.Core.Interop;

namespace Polyblk.Compare.Methods;

/// <summary>The peer: qemu-storage-daemon's vduse-blk export of one file, attached to this host by virtio_vdpa.</summary>
public sealed class QemuStorageDaemonVduse : IDeliveryMethod
{
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(1);

    private static readonly MethodNeeds s_needs = new()
    {
        KernelModules = ["vduse", "virtio_vdpa"], Privileges = ["root"], Programs = [StorageDaemonProcess.Program, "vdpa"],
    };

    private readonly string _name = $"pbqsd{Environment.ProcessId}";

    public MethodFacts Facts { get; } = KnownFacts.Peer(
        StorageDaemonProcess.Program, "vduse-drive", $"{StorageDaemonProcess.Program}, vduse", Vantage.Host, Backing.Drive, s_needs) with { Reaches = [Consumer.Container], Features = KnownFacts.PeerFeatures("vduse-blk") };

    public string Description => "its vduse-blk export of one member-sized file, one iothread, one queue, attached by virtio_vdpa";

    public MethodAvailability Check() =>
        StorageDaemonProcess.CheckHost() is { CanRun: false } missing ? missing
        : !Environment.IsPrivilegedProcess ? new MethodAvailability(false, "a VDUSE device needs root", ["run polyblk compare as root"])
        : !File.Exists("/dev/vduse/control") ? new MethodAvailability(false, "/dev/vduse/control is not there: the module vduse is not loaded", ["modprobe vduse && modprobe virtio_vdpa", "polyblk compare --inside-guest"])
        : !Directory.Exists("/sys/bus/vdpa/drivers/virtio_vdpa") ? new MethodAvailability(false, "the kernel has no driver virtio_vdpa loaded", ["modprobe virtio_vdpa"])
        : ProgramPath.TryFind("vdpa") is null ? new MethodAvailability(false, "the vdpa tool is not installed", ["apt-get install iproute2"])
        : MethodAvailability.OfFio();

    public async Task<IRunningMethod> StartAsync(ScratchSpace scratch, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(scratch);
        string file = scratch.PathOf("qsd-vduse.img");
        await ScratchFile.CreateAsync(file, scratch.MemberBytes, cancellation).ConfigureAwait(false);
        var daemon = new StorageDaemonProcess(
            file, ["--export", $"vduse-blk,id=export,node-name=drive,name={_name},writable=on,num-queues=1,iothread=io"], scratch.TargetCpus, () => Directory.Exists($"/sys/class/vduse/{_name}"))
        {
            OnStart = command => WaitingDevice.Note(scratch, _name, command),
        };
        try
        {
            await daemon.StartAsync(cancellation).ConfigureAwait(false);
            string[] add = ["vdpa", "dev", "add", "name", _name, "mgmtdev", "vduse"];
            cancellation.ThrowIfCancellationRequested();
            await Command.RunAsync(add, CancellationToken.None).ConfigureAwait(false);
            string device = await FindDeviceAsync(cancellation).ConfigureAwait(false);
            return new Running(daemon, scratch.Directory, _name, new BlockEndpoint(device, scratch.SpanBytes), [ScratchFile.Command(file, scratch.MemberBytes), daemon.CommandLine, string.Join(' ', add)]);
        }
        catch
        {
            await EndAsync(daemon, scratch.Directory, _name).ConfigureAwait(false);
            throw;
        }
    }

    private static async Task EndAsync(StorageDaemonProcess daemon, string folder, string name)
    {
        try
        {
            await WaitingDevice.RemoveAsync(folder, name, isServed: daemon.WhyEnded is null).ConfigureAwait(false);
        }
        finally
        {
            await daemon.DisposeAsync().ConfigureAwait(false);
        }

        // The daemon does not always destroy its device when it ends.
        await WaitingDevice.RemoveAsync(folder, name, isServed: false).ConfigureAwait(false);
    }

    private async Task<string> FindDeviceAsync(CancellationToken cancellation)
    {
        string place = $"/sys/bus/vdpa/devices/{_name}";
        for (DateTime deadline = DateTime.UtcNow + s_patience; DateTime.UtcNow < deadline; await Task.Delay(50, cancellation).ConfigureAwait(false))
        {
            string? block = Directory.EnumerateDirectories(place, "virtio*").Select(v => Path.Combine(v, "block")).FirstOrDefault(Directory.Exists);
            string? device = block is null ? null : Directory.EnumerateDirectories(block).Select(d => $"/dev/{Path.GetFileName(d)}").FirstOrDefault(File.Exists);
            if (device is not null)
            {
                return device;
            }
        }

        throw new MethodException($"The vdpa device {_name} did not become a disk: another bus driver than virtio_vdpa may have taken it (vdpa dev show).");
    }

    private sealed class Running(StorageDaemonProcess daemon, string folder, string name, BlockEndpoint endpoint, IReadOnlyList<string> commands) : IRunningMethod
    {
        public LoadEndpoint Endpoint => endpoint;

        public IReadOnlyList<int> ProcessIds => daemon.ProcessIds;

        public IReadOnlyList<string> Commands => commands;

        public string? WhyEnded => daemon.WhyEnded;

        public ValueTask DisposeAsync() => new(EndAsync(daemon, folder, name));
    }
}
