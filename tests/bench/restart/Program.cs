// How long a virtual machine waits for its disk while the daemon is succeeded by another process.
//
//   dotnet run -c Release --project tests/bench/restart -- [rounds, 100] [volumes, 1] [folder for the drives]
//
// Volumes of RAID 5 on three files each, exported by vhost-user. Each has a driver that writes a block, reads it, compares, and
// so on, one request at a time; every fourth write is flushed. In each round `polyblk daemon restart` is run while they go on. A
// volume's gap is the longest time in which its driver had no answer in that round. A request that fails, a block that differs or
// a connection that ends is a failure of the whole.

using System.Diagnostics;
using System.Globalization;
using Polyblk.Bench.Restart;

int rounds = args.Length > 0 ? int.Parse(args[0], CultureInfo.InvariantCulture) : 100;
int volumes = args.Length > 1 ? int.Parse(args[1], CultureInfo.InvariantCulture) : 1;
using var host = new DaemonHost(args.Length > 2 ? args[2] : Path.GetTempPath());
string[] names = [.. Enumerable.Range(0, volumes).Select(i => $"v{i}")];
foreach (string name in names)
{
    host.Run(["volume", "create", name, "--level", "raid5", .. Enumerable.Range(0, 3).Select(i => $"file:{host.PathOf($"{name}-{i}")},size=64MiB")]);
}

host.StartDaemon();
foreach (string name in names)
{
    host.Run("export", "add", name, "--frontend", "vhost-user", "--queues", "1", "--socket", host.PathOf(name + ".sock"));
}

VerifyingDriver[] drivers = [.. names.Select(name => new VerifyingDriver(host.PathOf(name + ".sock")))];
Thread.Sleep(1000);
double usual = drivers.Max(d => d.TakeLongest());
var gaps = new List<double>();
var commands = new List<double>();
for (int round = 0; round < rounds; round++)
{
    foreach (VerifyingDriver driver in drivers)
    {
        _ = driver.TakeLongest();
    }

    long began = Stopwatch.GetTimestamp();
    host.Run("daemon", "restart");
    commands.Add(Stopwatch.GetElapsedTime(began).TotalMilliseconds);
    gaps.AddRange(drivers.Select(d => d.TakeLongest()));
}

long requests = drivers.Sum(d => d.End());
Console.WriteLine($"{rounds} restarts, {volumes} volumes, {requests} requests compared, 0 failed");
Console.WriteLine($"longest wait in a second without restarts: {usual:0.0} ms");
Print("gap of a volume", gaps);
Print("the command", commands);

static void Print(string what, List<double> milliseconds)
{
    milliseconds.Sort();
    Console.WriteLine(
        $"{what}: median {At(0.5):0.0}, p90 {At(0.9):0.0}, p99 {At(0.99):0.0}, longest {milliseconds[^1]:0.0} ms");

    double At(double part) => milliseconds[Math.Min(milliseconds.Count - 1, (int)Math.Ceiling(part * milliseconds.Count) - 1)];
}
