// What volumes cost that are served and not used: processor time and memory of the daemon, with 0, 1, 10 and 100 of them, and of
// qemu-storage-daemon with as many files.
//
//   dotnet run -c Release --project tests/bench/idle -- [seconds, 10] [folder for the drives]
//
// Each volume is a RAID 5 on three files, exported by vhost-user. Memory is what belongs to the process alone (Private_Clean and
// Private_Dirty of smaps_rollup); processor time is that of all its threads while it is watched, in per cent of a processor.
// "attached" has a front-end connected to each export, with its rings set up and nothing in them.

using System.Diagnostics;
using System.Globalization;
using Polyblk.Bench.Idle;
using Polyblk.Bench.Restart;
using Polyblk.Compare.Clients.VhostUser;

int[] counts = [0, 1, 10, 100];
double seconds = args.Length > 0 ? double.Parse(args[0], CultureInfo.InvariantCulture) : 10;
string folder = args.Length > 1 ? args[1] : Path.GetTempPath();
Console.WriteLine($"{"",-36} {"volumes",8} {"private memory",16} {"for each",12} {"processor",10} {"for each",12}");
foreach (bool isAttached in (bool[])[false, true])
{
    string name = isAttached ? ", attached" : "";
    Footprint none = default;
    foreach (int count in counts)
    {
        using var host = new DaemonHost(folder);
        string[] sockets = Serve(host, count);
        none = Show("polyblk daemon" + name, count, none, () => Attach(sockets, isAttached), host.ServingPid());
    }

    foreach (int count in counts)
    {
        using var work = new DaemonHost(folder);
        string[] sockets = [.. Enumerable.Range(0, count).Select(i => work.PathOf($"q{i}.sock"))];
        using Process peer = StartPeer(work, sockets);
        try
        {
            none = Show("qemu-storage-daemon" + name, count, none, () => Attach(sockets, isAttached), peer.Id);
        }
        finally
        {
            peer.Kill();
            peer.WaitForExit();
        }
    }
}

string[] Serve(DaemonHost host, int count)
{
    host.StartDaemon();
    string[] sockets = [.. Enumerable.Range(0, count).Select(i => host.PathOf($"v{i}.sock"))];
    for (int i = 0; i < count; i++)
    {
        string name = $"v{i}";
        host.Run(["volume", "create", name, "--level", "raid5",
            .. Enumerable.Range(0, 3).Select(d => $"file:{host.PathOf($"{name}-{d}")},size=16MiB")]);
        host.Run("export", "add", name, "--frontend", "vhost-user", "--queues", "1", "--socket", sockets[i]);
    }

    return sockets;
}

static Process StartPeer(DaemonHost work, string[] sockets)
{
    var arguments = new List<string>();
    for (int i = 0; i < sockets.Length; i++)
    {
        using (FileStream file = File.Create(work.PathOf($"q{i}")))
        {
            file.SetLength(32 << 20);
        }

        arguments.AddRange(
        [
            "--blockdev", $"driver=file,node-name=n{i},filename={work.PathOf($"q{i}")}",
            "--export",
                $"type=vhost-user-blk,id=e{i},node-name=n{i},addr.type=unix,addr.path={sockets[i]},writable=on,num-queues=1",
        ]);
    }

    var process = Process.Start("qemu-storage-daemon", arguments);
    work.Wait(() => sockets.All(File.Exists), "the exports of qemu-storage-daemon");
    return process;
}

static VhostUserClient[] Attach(string[] sockets, bool isWanted) => isWanted
    ? [.. sockets.Select(s => new VhostUserClient(new VhostUserClientOptions { SocketPath = s, Depth = 1, BufferBytes = 4096 }))]
    : [];

Footprint Show(string what, int count, Footprint none, Func<VhostUserClient[]> attach, int pid)
{
    VhostUserClient[] clients = attach();
    Thread.Sleep(TimeSpan.FromSeconds(3));
    Footprint its = Footprint.Of(pid, TimeSpan.FromSeconds(seconds));
    string memory = count == 0 ? "" : $"{(its.Bytes - none.Bytes) / 1024.0 / count:0} KiB";
    string processor = count == 0 ? "" : $"{(its.Load - none.Load) * 100 / count:0.000} %";
    Console.WriteLine(
        $"{what,-36} {count,8} {its.Bytes / 1048576.0,12:0.0} MiB {memory,12} {its.Load * 100,8:0.00} % {processor,12}");
    Array.ForEach(clients, c => c.Dispose());
    return count == 0 ? its : none;
}
