// Speed under trouble, beside Linux md: arrays of both over the same disks in one guest, healthy, without a member, and while
// that is filled again.
//
//   dotnet run -c Release --project tests/bench/trouble -- [rounds, 3] [word of a name, for those alone]
//
// Needs what ./test installs (QEMU, mdadm, fio); takes some ten minutes a round without KVM. docs/performance.md has the results.
//
// The disks are slow and equal (QEMU's throttling: requests and bytes a second), so that they decide and not the emulated
// processor: what counts is how many requests an array makes of one, and how it shares the disks between a load and a rebuild. An
// array is alone on them, md's and polyblk's in turn; polyblk is attached by ublk. Loads are random requests of 4 KiB, 32 in
// flight. A rebuild with nobody beside it is compared with what a disk writes in a row. Printed are medians over the rounds.

using System.Globalization;
using Polyblk.GuestRig;
using Polyblk.Machine;

const int Disks = 5;
const int DiskMib = 96;
const int RequestsPerSecond = 400;
const int MibPerSecond = 8;
const int SecondsEach = 8;
const int SlowMibPerSecond = 2;
const int SlowerKibPerSecond = 512;

(string Name, string Words)[] arrays =
[
    ("md raid5 bitmap", "md 5 4 bitmap"), ("polyblk raid5 bitmap", "polyblk 5 4 bitmap"),
    ("md raid5 ppl", "md 5 4 ppl"), ("polyblk raid5 journal", "polyblk 5 4 journal"),
    ("polyblk raid5 journal, checksums", "polyblk 5 4 journal+checksums"),
    ("md raid6 bitmap", "md 6 5 bitmap"), ("polyblk raid6 bitmap", "polyblk 6 5 bitmap"),
    ("polyblk raid6 journal", "polyblk 6 5 journal"),
];
string[] measures =
[
    "healthy-read", "healthy-write", "degraded-read", "degraded-write", "fill-ms",
    "beside-full", "filled-full", "beside-slow", "filled-slow", "beside-slower", "filled-slower",
];

int rounds = args.Length > 0 ? int.Parse(args[0], CultureInfo.InvariantCulture) : 3;
int[] chosen = [.. Enumerable.Range(0, arrays.Length).Where(i => args.Length < 2 || arrays[i].Name.Contains(args[1], StringComparison.Ordinal))];
using var script = new StreamReader(typeof(Program).Assembly.GetManifestResourceStream("guest.sh")!);
string functions = script.ReadToEnd();
string folder = Directory.CreateTempSubdirectory("polyblk-trouble-").FullName;
var seen = new Dictionary<(int Array, string Measure), List<double>>();
try
{
    for (int round = 0; round < rounds; round++)
    {
        // Every other round the other way round: what grows with time is on both sides.
        int[] order = round % 2 == 0 ? chosen : [.. chosen.Reverse()];
        foreach (int i in order)
        {
            await Guests.RunAsync(attempt => MeasureAsync(attempt, i));
            Console.Error.WriteLine($"round {round + 1} of {rounds}: {arrays[i].Name}");
        }

        Print(round + 1);
    }
}
finally
{
    Directory.Delete(folder, recursive: true);
}

async Task MeasureAsync(GuestAttempt attempt, int array)
{
    GuestBuilder builder = new GuestVmBuilder($"trouble-{array}", GuestKernel.Linux612)
        .Memory(1536).Cpus(2).Polyblk().Programs("mdadm", "fio").BootWithin(TimeSpan.FromMinutes(3)).Timeout(TimeSpan.FromMinutes(15));
    for (int disk = 0; disk < Disks; disk++)
    {
        string path = Path.Combine(folder, $"disk{disk}");
        File.Delete(path);
        using (FileStream file = File.Create(path))
        {
            file.SetLength((long)DiskMib << 20);
        }

        string slot = GuestDisk.SlotOf(disk);
        string blocks = $$"""{"driver":"file","cache":{"no-flush":true},"filename":"{{path}}"}""";
        blocks = $$"""{"node-name":"n{{disk}}","driver":"throttle","throttle-group":"t{{disk}}","file":{{blocks}}}""";
        builder.Qemu(
            "-object", $"throttle-group,id=t{disk},x-iops-total={RequestsPerSecond},x-bps-total={MibPerSecond << 20}",
            "-blockdev", blocks, "-device", $"virtio-blk-pci,drive=n{disk},num-queues=1,addr={slot}");
    }

    string slots = string.Join(' ', Enumerable.Range(0, Disks).Select(GuestDisk.SlotOf));
    GuestVm guest = attempt.Start(builder.Script(
        $"DISKS='{slots}' SECONDS_EACH={SecondsEach} SLOW={SlowMibPerSecond << 20} SLOWER={SlowerKibPerSecond << 10} "
        + $"FILL_BYTES={(long)(DiskMib - 1) << 20}\n{functions}\nmeasure a{array} {arrays[array].Words}\nexit 0\n"));
    var figures = new List<double>();
    foreach (string measure in measures)
    {
        figures.Add(double.Parse(await guest.WaitForSignalAsync($"a{array}.{measure}"), CultureInfo.InvariantCulture));
    }

    await guest.CompletionAsync();
    for (int i = 0; i < measures.Length; i++)
    {
        if (!seen.TryGetValue((array, measures[i]), out List<double>? all)) seen[(array, measures[i])] = all = [];
        all.Add(figures[i]);
    }
}

double Median(int array, string measure)
{
    double[] all = [.. seen[(array, measure)].Order()];
    return (all[(all.Length - 1) / 2] + all[all.Length / 2]) / 2;
}

void Print(int done)
{
    Console.WriteLine($"\n{done} rounds; disks of {RequestsPerSecond} requests and {MibPerSecond} MiB a second\n");
    Console.WriteLine("| array | read | write | without a member: read | write | rebuild alone, of a disk's speed | beside a rebuild: load; rebuild, KiB/s "
        + $"| at most {SlowMibPerSecond} MiB/s | at most {SlowerKibPerSecond} KiB/s |");
    Console.WriteLine("|---|---|---|---|---|---|---|---|---|");
    foreach (int i in chosen)
    {
        // Bytes over milliseconds are thousands a second.
        string Beside(string rate) => string.Create(
            CultureInfo.InvariantCulture, $"{Median(i, $"beside-{rate}"):0}; {Median(i, $"filled-{rate}") * 1000 / 1024:0}");
        double alone = (DiskMib - 1) * 1000.0 / Median(i, "fill-ms") / MibPerSecond;
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"| {arrays[i].Name} | {Median(i, "healthy-read"):0} | {Median(i, "healthy-write"):0} | {Median(i, "degraded-read"):0} "
            + $"| {Median(i, "degraded-write"):0} | {alone:0.00} | {Beside("full")} | {Beside("slow")} | {Beside("slower")} |"));
    }
}
