using Polyblk.Compare.Load;
using Polyblk.Compare.Results;

namespace Polyblk.Compare.Methods;

/// <summary>The peer: qemu-storage-daemon's NBD export of one file on a Unix socket, with one iothread.</summary>
public sealed class QemuStorageDaemonNbd : IDeliveryMethod
{
    private const string ExportName = "drive";

    private static readonly MethodNeeds s_needs = new() { Programs = [StorageDaemonProcess.Program] };

    public MethodFacts Facts { get; } = KnownFacts.Peer(
        StorageDaemonProcess.Program, "nbd-drive", $"{StorageDaemonProcess.Program}, nbd", Vantage.Host, Backing.Drive, s_needs) with { Reaches = [Consumer.Vm], Features = KnownFacts.PeerFeatures("nbd") };

    public string Description => "its NBD export of one member-sized file over a Unix socket, one iothread, a connection for each job";

    public MethodAvailability Check() => StorageDaemonProcess.CheckHost() is { CanRun: false } missing ? missing : MethodAvailability.OfFio();

    public async Task<IRunningMethod> StartAsync(ScratchSpace scratch, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(scratch);
        string file = scratch.PathOf("qsd-nbd.img");
        await ScratchFile.CreateAsync(file, scratch.MemberBytes, cancellation).ConfigureAwait(false);
        string socket = scratch.PathOf("qsd-nbd.sock");
        var daemon = new StorageDaemonProcess(
            file,
            ["--nbd-server", $"addr.type=unix,addr.path={socket},max-connections=0", "--export", $"nbd,id=export,node-name=drive,name={ExportName},writable=on,iothread=io"],
            scratch.TargetCpus,
            () => ListeningSocket.IsAt(socket));
        await daemon.StartAsync(cancellation).ConfigureAwait(false);
        return new SocketOfStorageDaemon(daemon, ScratchFile.Command(file, scratch.MemberBytes), socket, new NbdEndpoint(socket, ExportName, scratch.SpanBytes));
    }
}
