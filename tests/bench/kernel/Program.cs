// The frontends of the kernel beside what the kernel and QEMU have: VDUSE beside qemu-storage-daemon's vduse-blk, ublk beside the
// loop driver, on the same kind of file and on null, all in one guest. bench.sh says what runs; docs/performance.md tells the
// method and the results.
//
//   dotnet run -c Release --project tests/bench/kernel -- [rounds] [seconds of a run] [folder for the raw results]
//   dotnet run -c Release --project tests/bench/kernel -- print ROUNDS FOLDER        (the table of an earlier run)

using Polyblk.Bench.Kernel;
using Polyblk.Machine;

if (args is ["print", var count, var earlier])
{
    Results.Read(earlier, int.Parse(count)).Print(Console.Out);
    return;
}

int rounds = args.Length > 0 ? int.Parse(args[0]) : 5;
double seconds = args.Length > 1 ? double.Parse(args[1]) : 1;
string folder = Directory.CreateDirectory(args.Length > 2 ? args[2] : Directory.CreateTempSubdirectory("polyblk-bench-kernel-").FullName).FullName;
using var script = new StreamReader(typeof(Results).Assembly.GetManifestResourceStream("bench.sh")!);
string commandLine = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "..", "..", "..", "polyblk"));

await using GuestVm guest = new GuestBuilder("bench-kernel", GuestKernel.Linux73)
    .Memory(3072)
    .Cpus(2)
    .Polyblk(commandLine)
    .Programs("fio", "qemu-storage-daemon", "vdpa", "losetup", "taskset")
    .Script($"ROUNDS={rounds} RUN_MS={seconds * 1000:0}\n{script.ReadToEnd()}")
    .LogTo(folder)
    .Timeout(TimeSpan.FromHours(1))
    .Start();
for (int round = 1; round <= rounds; round++)
{
    await guest.WaitForSignalAsync("round");
    Console.Error.WriteLine($"round {round} of {rounds}");
}

GuestResult result = await guest.CompletionAsync();
result.RequireSuccess("vduse-file", "ublk-file", "vduse-null", "ublk-null", "qsd-file", "qsd-null", "loop-file", "loop-null");
await guest.ExtractResultsAsync(folder);
Console.WriteLine($"{MachineCache.Accelerator()}, {MachineCache.Release(GuestKernel.Linux73)}, qsd file: {result["qsd-file"].Detail}, loop: direct; {folder}");
Results.Read(folder, rounds).Print(Console.Out);
