// How long a virtual machine waits for its disk while the daemon is succeeded by another process, or killed.
//
//   dotnet run -c Release --project tests/bench/restart -- [MODE] [rounds, 100] [volumes, 1] [folder for the drives]
//
//   restart   polyblk daemon restart (the default)
//   kill      kill -9 of a daemon that has a process standing by (--standby)
//   alone     kill -9 of one that has none, started again at once
//   qsd       kill -9 of a qemu-storage-daemon with one file, started again at once
//
// Volumes of RAID 5 on three files each, exported by vhost-user. Each has a driver that writes a block, reads it, compares, and
// so on, one request at a time; every fourth write is flushed. The process is succeeded or killed while they go on; a driver
// connects again after a kill, with its requests in flight. A volume's gap is the longest time in which its driver had no answer
// in that round. A request that fails, a block that differs, or a connection that ends in a planned restart is a failure of the
// whole.

using System.Diagnostics;
using System.Globalization;
using Polyblk.Bench.Restart;

string mode = args.Length > 0 && !char.IsAsciiDigit(args[0][0]) ? args[0] : "restart";
string[] numbers = [.. args.Where(a => a != mode)];
int rounds = numbers.Length > 0 ? int.Parse(numbers[0], CultureInfo.InvariantCulture) : 100;
int volumes = numbers.Length > 1 ? int.Parse(numbers[1], CultureInfo.InvariantCulture) : 1;
using var host = new DaemonHost(numbers.Length > 2 ? numbers[2] : Path.GetTempPath());
if (mode == "qsd")
{
    string socket = host.PathOf("qsd.sock");
    using var peer = new StorageDaemon(host.PathOf("qsd"), socket);
    Measure([socket], peer.KillAndStart);
    return;
}

string[] names = [.. Enumerable.Range(0, volumes).Select(i => $"v{i}")];
foreach (string name in names)
{
    host.Run(["volume", "create", name, "--level", "raid5", .. Enumerable.Range(0, 3).Select(i => $"file:{host.PathOf($"{name}-{i}")},size=64MiB")]);
}

string[] options = mode == "kill" ? ["--standby"] : [];
host.StartDaemon(options);
foreach (string name in names)
{
    host.Run("export", "add", name, "--frontend", "vhost-user", "--queues", "1", "--socket", host.PathOf(name + ".sock"));
}

Measure([.. names.Select(name => host.PathOf(name + ".sock"))], mode == "restart" ? () => host.Run("daemon", "restart") : Kill);

void Measure(string[] sockets, Action change)
{
    VerifyingDriver[] drivers = [.. sockets.Select(socket => new VerifyingDriver(socket, reconnects: mode != "restart"))];
    Thread.Sleep(1000);
    double usual = drivers.Max(d => d.TakeLongest());
    var gaps = new List<double>();
    var changes = new List<double>();
    for (int round = 0; round < rounds; round++)
    {
        foreach (VerifyingDriver driver in drivers)
        {
            _ = driver.TakeLongest();
        }

        long began = Stopwatch.GetTimestamp();
        change();
        changes.Add(Stopwatch.GetElapsedTime(began).TotalMilliseconds);

        // Those who connect again have an answer by then. Who dies within two seconds, again and again, is replaced after a
        // pause.
        Thread.Sleep(mode == "restart" ? 0 : mode == "kill" ? 2200 : 500);
        gaps.AddRange(drivers.Select(d => d.TakeLongest()));
    }

    long requests = drivers.Sum(d => d.End());
    Console.WriteLine($"{mode}: {rounds} rounds, {sockets.Length} volumes, {requests} requests compared, 0 failed");
    Console.WriteLine($"longest wait in a second without: {usual:0.0} ms");
    Print("gap of a volume", gaps);
    Print("what makes it", changes);
}

// Kills the process that serves, and starts another one where none stands by.
void Kill()
{
    int killed = host.ServingPid();
    using (var kill = Process.Start("kill", ["-KILL", $"{killed}"]))
    {
        kill.WaitForExit();
    }

    if (mode == "alone")
    {
        host.Wait(() => !Directory.Exists($"/proc/{killed}"), "its end");
        host.BeginDaemon();
    }

    host.Wait(() => host.ServingPid() is int pid && pid != 0 && pid != killed, "a daemon");
}

static void Print(string what, List<double> milliseconds)
{
    milliseconds.Sort();
    Console.WriteLine(
        $"{what}: median {At(0.5):0.0}, p90 {At(0.9):0.0}, p99 {At(0.99):0.0}, longest {milliseconds[^1]:0.0} ms");

    double At(double part) => milliseconds[Math.Min(milliseconds.Count - 1, (int)Math.Ceiling(part * milliseconds.Count) - 1)];
}
