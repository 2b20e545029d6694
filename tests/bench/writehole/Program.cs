// The write hole, measured: what parity arrays of Linux md and of polyblk lose that are cut off while they write and then lack a
// member.
//
//   dotnet run -c Release --project tests/bench/writehole -- [cut-offs, 10] [seed, 1] [md or polyblk, for those alone]
//
// Needs what ./test installs (QEMU, mdadm, fio); takes three minutes and two more for each cut-off without KVM on two busy
// processors. docs/reliability.md has the results.
//
// All arrays are in one guest, each on a slice of its own of the same disks (five, files of the host), so that all are cut off in
// the same moment under the same load. Once: they are made over zeroes and filled with a pattern that names each sector, flushed
// and stopped in order. Then, for each cut-off, from a copy of that:
//
// - The arrays are assembled, and each gets random writes of 4 KiB, 64 in flight, to every other chunk. The disks are slow
//   (QEMU's throttling, requests a second), so that many requests wait in them, and differ by a little, other ones each time, so
//   that some members are ahead of others. Not by more: all would wait for the slowest. In the midst of that QEMU gets SIGKILL:
//   what was waiting in the disks is lost.
// - A second guest assembles each array without one member, another one each time, and where that is refused, by force; and reads
//   all of it. Then it does the same on a copy of the disks with the next member missing, and of raid6 two.
//
// Chunks that nobody wrote since the flush are what is judged: each of their sectors that has changed is lost. In the others the
// old and the new are both right.
//
// Not in it: drives that lose what they had taken but not flushed (tests/simulation has that). A request here is done as a whole
// or not at all.

using System.Diagnostics;
using System.Globalization;
using Polyblk.Bench.WriteHole;
using Polyblk.GuestRig;
using Polyblk.Machine;

const int Disks = 5;
const int SliceMib = 20;
const int Looks = 2;
const int SlowestPerSecond = 200;
const int FastestPerSecond = 206;
const GuestKernel Kernel = GuestKernel.Linux612;

int cuts = args.Length > 0 ? int.Parse(args[0], CultureInfo.InvariantCulture) : 10;
int seed = args.Length > 1 ? int.Parse(args[1], CultureInfo.InvariantCulture) : 1;
TestedArray[] arrays = [.. TestedArray.All.Where(a => args.Length < 3 || a.Kind == args[2])];
using var script = new StreamReader(typeof(Pattern).Assembly.GetManifestResourceStream("guest.sh")!);
string functions = script.ReadToEnd();
byte[] first = Pattern.Fill();
string folder = Directory.CreateTempSubdirectory("polyblk-writehole-").FullName;
var tally = new Tally();
try
{
    File.WriteAllBytes(PathOf("pattern"), first);
    await Guests.RunAsync(async attempt =>
    {
        for (int i = 0; i < Disks; i++) Slices.Make(PathOf($"filled{i}"), SliceMib, arrays.Length);
        string slot = $"PATTERN={GuestDisk.SlotOf(Disks)}";
        GuestVm guest = attempt.Start(Guest("fill", "filled", slow: null, [PathOf("pattern")], slot, Calls("make")));
        IEnumerable<string> checks = arrays.SelectMany((_, i) => new[] { $"make{i + 1}", $"fill{i + 1}" });
        (await guest.CompletionAsync()).RequireSuccess([.. checks]);
    });
    Console.Error.WriteLine("filled");
    for (int cut = 0; cut < cuts; cut++)
    {
        var random = new Random((seed * 1000) + cut);
        await Guests.RunAsync(attempt => CutOffAsync(attempt, random));
        int missing = cut * Looks;
        await Guests.RunAsync(attempt => LookAsync(attempt, missing));
        Console.Error.WriteLine($"cut-off {cut + 1} of {cuts}");
        tally.Print(Console.Out, cut + 1);
    }
}
finally
{
    Directory.Delete(folder, recursive: true);
}

string PathOf(string name) => Path.Combine(folder, name);

void Copy(string from, string to)
{
    for (int i = 0; i < Disks; i++)
    {
        using Process copy = Process.Start("cp", ["--sparse=always", "--reflink=auto", PathOf($"{from}{i}"), PathOf($"{to}{i}")]);
        copy.WaitForExit();
        if (copy.ExitCode != 0) throw new IOException("The disks could not be copied.");
    }
}

string Slots(int first) => string.Join(' ', Enumerable.Range(first, Disks).Select(GuestDisk.SlotOf));

string Calls(string function, Func<int, string>? more = null) =>
    string.Concat(arrays.Select((array, i) => $"{function} {array.Words(i)} {more?.Invoke(i)}\n"));

// A guest with the member disks, slow ones or as fast as the host's, and others behind them.
GuestBuilder Guest(string name, string disks, Random? slow, IEnumerable<string> others, string variables, string calls)
{
    GuestBuilder builder = new GuestVmBuilder($"writehole-{name}", Kernel)
        .Memory(1536).Polyblk().Programs("mdadm", "fio").BootWithin(TimeSpan.FromMinutes(3)).Timeout(TimeSpan.FromMinutes(8));
    int slot = 0;
    foreach (string path in Enumerable.Range(0, Disks).Select(i => PathOf($"{disks}{i}")).Concat(others))
    {
        // What QEMU has written is in the files, also when it is killed: they need not be flushed, which would only cost time on
        // a busy host.
        string file = $$"""{"driver":"file","cache":{"no-flush":true},"filename":"{{path}}"}""";
        if (slow is not null && slot < Disks)
        {
            int speed = slow.Next(SlowestPerSecond, FastestPerSecond + 1);
            builder.Qemu("-object", $"throttle-group,id=t{slot},x-iops-total={speed}");
            file = $$"""{"driver":"throttle","throttle-group":"t{{slot}}","file":{{file}}}""";
        }

        string device = $"virtio-blk-pci,drive=n{slot},num-queues=1,addr={GuestDisk.SlotOf(slot)}";
        builder.Qemu("-blockdev", file.Insert(1, $"\"node-name\":\"n{slot}\","), "-device", device);
        slot++;
    }

    string members = Slots(0);
    return builder.Script(
        $"SPAN={Pattern.SpanMib} ARRAYS={arrays.Length} MEMBERS='{members}'\n{variables}\n{functions}\n{calls}exit 0\n");
}

async Task CutOffAsync(GuestAttempt attempt, Random random)
{
    Copy("filled", "cut");
    GuestBuilder builder = Guest("cut", "cut", slow: random, [], "", Calls("start") + "write\n");
    for (int i = 0; i < arrays.Length; i++) builder.Text($"/load/{i + 1}", Pattern.Load(random));
    GuestVm guest = attempt.Start(builder);
    await guest.WaitForSignalAsync("writing");
    await Task.Delay(random.Next(500, 4000));
    int qemu = guest.QemuProcessId ?? throw new InvalidOperationException("QEMU ended before it was killed.");
    using Process process = Process.GetProcessById(qemu);
    process.Kill();
    await process.WaitForExitAsync();
}

async Task LookAsync(GuestAttempt attempt, int missing)
{
    Copy("cut", "look");
    Copy("cut", "again");
    using FileStream back = File.Create(PathOf("back"));
    back.SetLength((long)Pattern.SpanMib * arrays.Length * Looks << 20);

    // All members come, and all pairs: the distance grows when each was the first.
    string Without(int look, int i)
    {
        int members = arrays[i].Members, first = missing + look, distance = 1 + (first / members % (members - 1));
        int count = arrays[i].Level == 6 ? look + 1 : 1;
        return string.Join(',', Enumerable.Range(0, count).Select(n => (first + (n * distance)) % members));
    }

    IEnumerable<string> others = [.. Enumerable.Range(0, Disks).Select(i => PathOf($"again{i}")), PathOf("back")];
    string calls = Calls("examine", i => Without(0, i)) + $"use {Slots(Disks)}\n" + Calls("examine", i => Without(1, i));
    GuestVm guest = attempt.Start(Guest("look", "look", slow: null, others, $"BACK={GuestDisk.SlotOf(2 * Disks)}", calls));
    var answers = new List<string>();
    for (int n = 0; n < Looks * arrays.Length; n++)
        answers.Add(await guest.WaitForSignalAsync($"array{n / arrays.Length}.{(n % arrays.Length) + 1}"));
    await guest.CompletionAsync();
    byte[] read = new byte[first.Length];
    for (int n = 0; n < answers.Count; n++)
    {
        back.ReadExactly(read);
        string without = Without(n / arrays.Length, n % arrays.Length);
        tally.Add(arrays[n % arrays.Length], without.Split(',').Length, without, answers[n], Pattern.Compare(first, read));
    }
}
