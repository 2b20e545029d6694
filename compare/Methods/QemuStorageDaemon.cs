using Polyblk.Compare.Load;
using Polyblk.Compare.Results;

namespace Polyblk.Compare.Methods;

/// <summary>The peer: qemu-storage-daemon's vhost-user-blk export of one file, with one iothread.</summary>
/// <param name="fileName">Name of its file and socket in the scratch space.</param>
public sealed class QemuStorageDaemon(string fileName = "qsd") : IDeliveryMethod
{
    private static readonly MethodNeeds s_needs = new() { SharedMemory = true, Programs = [StorageDaemonProcess.Program, "QEMU"] };

    public MethodFacts Facts { get; } =
        KnownFacts.Peer(StorageDaemonProcess.Program, "drive", StorageDaemonProcess.Program, Vantage.Host, Backing.Drive, s_needs) with { Reaches = [Consumer.Vm], Features = KnownFacts.PeerFeatures("vhost-user-blk") };

    public string Description => "its vhost-user-blk export of one member-sized file, one iothread, one queue";

    public MethodAvailability Check() => StorageDaemonProcess.CheckHost();

    public async Task<IRunningMethod> StartAsync(ScratchSpace scratch, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(scratch);
        string file = scratch.PathOf($"{fileName}.img");
        await ScratchFile.CreateAsync(file, scratch.MemberBytes, cancellation).ConfigureAwait(false);
        string socket = scratch.PathOf($"{fileName}.sock");
        var daemon = new StorageDaemonProcess(
            file,
            ["--export", $"vhost-user-blk,id=export,node-name=drive,addr.type=unix,addr.path={socket},writable=on,num-queues=1,iothread=io"],
            scratch.TargetCpus,
            () => ListeningSocket.IsAt(socket));
        await daemon.StartAsync(cancellation).ConfigureAwait(false);
        return new SocketOfStorageDaemon(daemon, ScratchFile.Command(file, scratch.MemberBytes), socket, new VhostUserEndpoint(socket, 1, scratch.SpanBytes));
    }
}
