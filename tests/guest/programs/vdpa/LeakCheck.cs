using System.Globalization;
using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Core.Reactors;
using Polyblk.Drives.Ram;
using Polyblk.Frontends;
using Polyblk.Frontends.Vduse;

namespace Polyblk.GuestPrograms.Vdpa;

/// <summary>
/// Makes and deletes devices in one process, two at a time, and compares what it holds afterwards with what it held after the
/// first rounds.
/// </summary>
internal static class LeakCheck
{
    private const int AtATime = 2;
    private const int WarmUpRounds = 5;
    private const string StateDirectory = "/tmp/cycle";

    /// <summary>Returns whether nothing leaked; the figures go to standard output.</summary>
    public static async Task<bool> RunAsync(int count)
    {
        Directory.CreateDirectory(StateDirectory);
        await using var drive = new RamDrive(16 << 20);
        using var reactors = new ReactorGroup([new ReactorOptions { Name = "reactor/0", Cpu = 0 }, new ReactorOptions { Name = "reactor/1", Cpu = 1 }]);
        var context = new ExportContext(reactors, StateDirectory, StateDirectory, NullLoggerFactory.Instance);
        // The first rounds fill pools and caches; what counts is growth after them.
        Holdings before = default;
        for (int round = 0; round < count / AtATime; round++)
        {
            if (round == WarmUpRounds)
            {
                before = Holdings.Measure();
            }

            // Looking for users of the device, as an idle stop does, takes long in an emulated guest.
            StopMode mode = round % 10 == 0 ? StopMode.IfIdle : StopMode.Force;
            await Task.WhenAll(Enumerable.Range(0, AtATime).Select(async index =>
            {
                IExport export = await new VduseFrontend().CreateAsync(MakeSpec(drive, index), context, CancellationToken.None);
                ReadOnce(export.Endpoint.Path);
                await export.StopAsync(mode, CancellationToken.None);
                await export.DisposeAsync();
            }));
        }

        var after = Holdings.Measure();
        Console.WriteLine($"{count} devices: {before} became {after}");

        // Threads of the runtime's pool come and go; a leak would be one a device.
        return after.Descriptors <= before.Descriptors + 3 && after.Threads <= before.Threads + 5 && after.Mappings <= before.Mappings + 30
            && after.ResidentKib <= before.ResidentKib + (16 << 10);
    }

    private static ExportSpec MakeSpec(RamDrive drive, int index) => new()
    {
        Id = $"cycle/vduse/{index}",
        VolumeName = "cycle",
        Device = drive,
        Queues = 2,
        Options = new Dictionary<string, string> { ["attach"] = "virtio", ["vduse-name"] = $"cycle{index}" },
    };

    private static void ReadOnce(string node)
    {
        using FileStream file = File.OpenRead(node);
        file.ReadExactly(new byte[4096]);
    }

    private readonly record struct Holdings(int Descriptors, int Threads, int Mappings, long ResidentKib)
    {
        public static Holdings Measure()
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            GC.Collect();
            string resident = File.ReadLines("/proc/self/status").First(l => l.StartsWith("VmRSS:", StringComparison.Ordinal));
            return new Holdings(
                Directory.GetFiles("/proc/self/fd").Length,
                Directory.GetDirectories("/proc/self/task").Length,
                File.ReadLines("/proc/self/maps").Count(),
                long.Parse(resident.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture));
        }
    }
}
