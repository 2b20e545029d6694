using System.Globalization;
using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Core.Block;
using Polyblk.Core.Drives;
using Polyblk.Core.Frontend;
using Polyblk.Core.Reactors;
using Polyblk.Frontends.Ublk;

namespace Polyblk.UblkTestHost;

/// <summary>Serves a drive and obeys standard input.</summary>
internal static class Server
{
    public const string StateDirectory = "/tmp/state";
    private const string RuntimeDirectory = "/run/polyblk";

    public static async Task<int> ServeAsync(string drive, Dictionary<string, string> options)
    {
        IBlockDevice device = Open(drive, options);
        using ReactorGroup reactors = MakeReactors(options);
        IExport export = await new UblkFrontend().CreateAsync(MakeSpec(device, options), MakeContext(reactors), CancellationToken.None);
        foreach (string note in export.Notes)
        {
            Console.WriteLine($"NOTE {note}");
        }

        Console.WriteLine($"READY {export.Endpoint.Path} {string.Join(',', export.GetStatistics().QueueReactors)}");
        _ = export.Completion.ContinueWith(
            t => Console.WriteLine($"ENDED {t.Exception!.InnerException!.Message}"), CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
        while (await Console.In.ReadLineAsync() is { } line)
        {
            try
            {
                if (await ObeyAsync(line, export, device))
                {
                    return 0;
                }
            }
            catch (FrontendException e)
            {
                Console.WriteLine($"ERROR {e.Message}");
            }
        }

        return 3;
    }

    public static async Task<int> CycleAsync(string drive, int count, Dictionary<string, string> options)
    {
        await using IBlockDevice device = Open(drive, options);
        using ReactorGroup reactors = MakeReactors(options);
        (int Fds, int Threads, long Kib) before = default;
        for (int i = 0; i < count; i++)
        {
            // The first rounds fill pools and caches; what is counted is growth after them.
            if (i == 5)
            {
                before = Measure();
            }

            IExport export = await new UblkFrontend().CreateAsync(MakeSpec(device, options), MakeContext(reactors), CancellationToken.None);
            await export.StopAsync(StopMode.IfIdle, CancellationToken.None);
            await export.DisposeAsync();
        }

        (int Fds, int Threads, long Kib) after = Measure();
        int devices = (await new UblkReaper(StateDirectory).ListAsync()).Count;
        Console.WriteLine($"{count} rounds: fds {before.Fds} to {after.Fds}, threads {before.Threads} to {after.Threads}, "
            + $"resident {before.Kib} to {after.Kib} KiB, devices left {devices}");

        // Pool threads of the runtime come and go; a leak would be one a round.
        bool leaks = after.Fds > before.Fds + 3 || after.Threads > before.Threads + 5 || after.Kib > before.Kib + (32 << 10) || devices != 0;
        return leaks ? 1 : 0;
    }

    public static async Task<int> NestAsync(string drive)
    {
        var options = new Dictionary<string, string> { ["volume"] = "below" };
        await using IBlockDevice below = Open(drive, options);
        using ReactorGroup reactors = MakeReactors(options);
        var frontend = new UblkFrontend();
        await using IExport export = await frontend.CreateAsync(MakeSpec(below, options), MakeContext(reactors), CancellationToken.None);
        await using IBlockDevice above = Open(export.Endpoint.Path, options);
        options["volume"] = "above";
        await using IExport second = await frontend.CreateAsync(MakeSpec(above, options), MakeContext(reactors), CancellationToken.None);
        return 0;
    }

    private static async Task<bool> ObeyAsync(string line, IExport export, IBlockDevice device)
    {
        string[] words = line.Split(' ');
        switch (words[0])
        {
            case "stop":
                await export.StopAsync(StopMode.IfIdle, CancellationToken.None);
                Console.WriteLine("STOPPED");
                return true;
            case "force":
                await export.StopAsync(StopMode.Force, CancellationToken.None);
                Console.WriteLine("STOPPED");
                return true;
            case "handover":
                await export.StopAsync(StopMode.HandOver, CancellationToken.None);
                Console.WriteLine("HANDED");
                return true;
            case "handover-stay":
                await export.StopAsync(StopMode.HandOver, CancellationToken.None);
                await device.DisposeAsync();
                Console.WriteLine("HANDED");
                return false;
            case "resize":
                await ((FileDrive)device).RefreshSizeAsync();
                await export.ResizeAsync(CancellationToken.None);
                Console.WriteLine($"RESIZED {device.SizeBytes}");
                return false;
            case "drain":
                await export.DrainAsync(CancellationToken.None);
                Console.WriteLine("DRAINED");
                return false;
            case "resume":
                await export.ResumeAsync(CancellationToken.None);
                Console.WriteLine("RESUMED");
                return false;
            case "stats":
                Console.WriteLine($"STATS {export.GetStatistics()}");
                return false;
            default:
                Console.WriteLine($"ERROR no command '{line}'");
                return false;
        }
    }

    private static IBlockDevice Open(string drive, Dictionary<string, string> options)
    {
        IBlockDevice device = DriveFactory.Open(DriveSpec.Parse(drive));
        return options.TryGetValue("fake", out string? kind) ? new CpuNeedingDevice(device, kind) : device;
    }

    private static ReactorGroup MakeReactors(Dictionary<string, string> options)
    {
        int count = Number(options, "reactors") ?? 1;
        return new ReactorGroup([.. Enumerable.Range(0, count).Select(i => new ReactorOptions { Name = $"reactor/{i}", Cpu = i % Environment.ProcessorCount })]);
    }

    private static ExportContext MakeContext(ReactorGroup reactors)
    {
        Directory.CreateDirectory(StateDirectory);
        Directory.CreateDirectory(RuntimeDirectory);
        return new ExportContext(reactors, RuntimeDirectory, StateDirectory, NullLoggerFactory.Instance);
    }

    private static ExportSpec MakeSpec(IBlockDevice device, Dictionary<string, string> options)
    {
        string volume = options.GetValueOrDefault("volume", "data");
        return new ExportSpec
        {
            Id = options.GetValueOrDefault("id", $"{volume}/ublk/0"),
            VolumeName = volume,
            Device = device,
            Queues = Number(options, "queues"),
            QueueSize = Number(options, "depth"),
            ReadOnly = options.ContainsKey("read-only"),
            Options = options,
        };
    }

    private static int? Number(Dictionary<string, string> options, string name) =>
        options.TryGetValue(name, out string? text) ? int.Parse(text, CultureInfo.InvariantCulture) : null;

    private static (int Fds, int Threads, long Kib) Measure()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
        string resident = File.ReadLines("/proc/self/status").First(l => l.StartsWith("VmRSS:", StringComparison.Ordinal));
        return (Directory.GetFiles("/proc/self/fd").Length,
            Directory.GetDirectories("/proc/self/task").Length,
            long.Parse(resident.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture));
    }
}
