using Polyblk.Compare.Load;

namespace Polyblk.Compare.Methods;

/// <summary>The peer: qemu-storage-daemon's vhost-user-blk export of one file, with one iothread.</summary>
public sealed class QemuStorageDaemon : IDeliveryMethod
{
    private const string Program = "qemu-storage-daemon";
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);

    public string Name => "qemu-storage-daemon";

    public string Description => "its vhost-user-blk export of one member-sized file, one iothread, one queue";

    public MethodAvailability Check() => ChildProcess.FindProgram(Program) is not null
        ? MethodAvailability.Yes
        : new MethodAvailability(false, $"{Program} is not installed", ["apt-get install qemu-system-common  # or qemu-utils, where your distribution keeps qemu-storage-daemon"]);

    public async Task<IRunningMethod> StartAsync(ScratchSpace scratch, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(scratch);
        string file = scratch.PathOf("qsd.img");
        await ScratchFile.CreateAsync(file, scratch.MemberBytes, cancellation).ConfigureAwait(false);

        // The fastest way first that the file system takes.
        string[] modes = ["aio=io_uring,cache.direct=on", "aio=io_uring", "aio=threads"];
        string trouble = string.Empty;
        foreach (string mode in modes)
        {
            ChildProcess child = ChildProcess.Start(Command(scratch, file, mode), scratch.TargetCpus);
            if (await WaitForSocketAsync(child, SocketPath(scratch), cancellation).ConfigureAwait(false))
            {
                return new Running(child, new VhostUserEndpoint(SocketPath(scratch), 1, scratch.SpanBytes));
            }

            trouble = child.LastErrors;
            await child.DisposeAsync().ConfigureAwait(false);
        }

        throw new MethodException($"{Program} did not start: {trouble}");
    }

    private static string SocketPath(ScratchSpace scratch) => scratch.PathOf("qsd.sock");

    private static string[] Command(ScratchSpace scratch, string file, string mode) =>
    [
        Program,
        "--object", "iothread,id=io",
        "--blockdev", $"driver=file,node-name=drive,filename={file},{mode}",
        "--export", $"vhost-user-blk,id=export,node-name=drive,addr.type=unix,addr.path={SocketPath(scratch)},writable=on,num-queues=1,iothread=io",
    ];

    private static async Task<bool> WaitForSocketAsync(ChildProcess child, string path, CancellationToken cancellation)
    {
        DateTime deadline = DateTime.UtcNow + s_patience;
        while (!child.HasExited && DateTime.UtcNow < deadline)
        {
            if (File.Exists(path))
            {
                return true;
            }

            await Task.Delay(20, cancellation).ConfigureAwait(false);
        }

        return false;
    }

    private sealed class Running(ChildProcess child, VhostUserEndpoint endpoint) : IRunningMethod
    {
        public LoadEndpoint Endpoint => endpoint;

        public IReadOnlyList<int> ProcessIds => [child.Id];

        public IReadOnlyList<string> Commands => [child.CommandLine];

        public ValueTask DisposeAsync() => child.DisposeAsync();
    }
}
