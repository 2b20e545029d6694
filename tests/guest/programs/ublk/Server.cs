using System.Globalization;
using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Frontends;
using Polyblk.Frontends.Ublk;

namespace Polyblk.GuestPrograms.Ublk;

/// <summary>
/// Obeys lines of standard input and answers each with a line in capitals, or ERROR and the message. Serves volumes: <c>serve
/// DRIVE [name=value ...]</c> with volume (its name), uuid (a small number; 1 unless said), queues (1,4 makes two devices),
/// depth, reactors, read-only, copy-mode, max-io, number, unprivileged, fake (see <see cref="CpuNeedingDevice"/>), new (see <see
/// cref="Volume"/>); <c>break-off STEP DRIVE [name=value ...]</c> dies while it takes a device over (see <see cref="TakeOver"/>);
/// then stop, force, give-up, handover, (an array: with its new size in MiB), drain and so on, with the volume's name at the end
/// unless it is "data".
/// </summary>
internal sealed class Server
{
    private const string StateDirectory = "/tmp/state";
    private const string RuntimeDirectory = "/run/polyblk";
    private const string UsualName = "data";

    private readonly Dictionary<string, Served> _volumes = [];

    public async Task<int> RunAsync()
    {
        Console.WriteLine("UP");
        while (await Console.In.ReadLineAsync() is { } line)
        {
            try
            {
                string[] words = line.Split(' ');
                if (words[0] == "handover")
                {
                    await Named(words, 1).StopAsync(StopMode.HandOver);
                    Console.WriteLine("HANDED");
                    return 0;
                }

                Console.WriteLine(await ObeyAsync(words));
            }
            catch (Exception e) when (e is FrontendException or IOException)
            {
                Console.WriteLine($"ERROR {e.Message}");
            }
        }

        return 3;
    }

    private static Dictionary<string, string> Options(IEnumerable<string> words) =>
        words.Select(a => a.Split('=', 2)).ToDictionary(p => p[0], p => p.Length > 1 ? p[1] : string.Empty);

    private Served Named(string[] words, int index) => _volumes[words.ElementAtOrDefault(index) ?? UsualName];

    private async Task<string> ObeyAsync(string[] words)
    {
        switch (words[0])
        {
            case "probe":
                return Probe();
            case "list":
                return await ListAsync();
            case "delete":
                await new UblkReaper(StateDirectory).DeleteAsync(uint.Parse(words[1], CultureInfo.InvariantCulture), force: false);
                return "DELETED";
            case "cycle":
                return await CycleAsync(words[1], int.Parse(words[2], CultureInfo.InvariantCulture), Options(words.Skip(3)));
            case "serve":
                return await ServeAsync(words[1], Options(words.Skip(2)));
            case "break-off":
                Dictionary<string, string> options = Options(words.Skip(3));
                ReactorGroup reactors = MakeReactors(options);
                Volume volume = await Volume.OpenAsync(words[2], options, reactors);
                await TakeOver.BreakOffAsync(words[1], MakeSpec(volume.Device, options, 0, 2), reactors, StateDirectory);
                return "ERROR still here";
            case "nest":
                return await NestAsync(Named(words, 1));
            case "stop":
                await EndAsync(Named(words, 1), StopMode.IfIdle);
                return "STOPPED";
            case "force":
                await EndAsync(Named(words, 1), StopMode.Force);
                return "STOPPED";
            case "give-up":
                await EndAsync(Named(words, 1), null);
                return "STOPPED";
            case "handover-stay":
                await EndAsync(Named(words, 1), StopMode.HandOver);
                return "HANDED";
            default:
                return await ObeyAboutAsync(words);
        }
    }

    /// <summary>What concerns a volume that goes on.</summary>
    private async Task<string> ObeyAboutAsync(string[] words)
    {
        switch (words[0])
        {
            case "resize":
                int? sizeMib = words.Length > 1 ? int.Parse(words[1], CultureInfo.InvariantCulture) : null;
                await Named(words, 2).ResizeAsync(sizeMib);
                return $"RESIZED {Named(words, 2).Volume.Device.SizeBytes}";
            case "drain":
                await Named(words, 1).Exports[0].DrainAsync(CancellationToken.None);
                return "DRAINED";
            case "resume":
                await Named(words, 1).Exports[0].ResumeAsync(CancellationToken.None);
                return "RESUMED";
            case "stats":
                return $"STATS {Named(words, 1).Exports[0].GetStatistics()}";
            case "settle":
                await Named(words, 1).Volume.SettleAsync();
                return "SETTLED";
            case "fail":
                Named(words, 2).Volume.Fail(int.Parse(words[1], CultureInfo.InvariantCulture));
                return "FAILED";
            case "health":
                return $"HEALTH {Named(words, 1).Volume.Health}";
            default:
                return $"ERROR no command '{words[0]}'";
        }
    }

    private async Task<string> ServeAsync(string drive, Dictionary<string, string> options)
    {
        ReactorGroup reactors = MakeReactors(options);
        Served? served = null;
        try
        {
            served = new Served(await Volume.OpenAsync(drive, options, reactors), reactors);
            string[] queues = options.GetValueOrDefault("queues", "1").Split(',');
            for (int i = 0; i < queues.Length; i++)
            {
                await served.ExportAsync(MakeSpec(served.Volume.Device, options, i, int.Parse(queues[i], CultureInfo.InvariantCulture)), MakeContext(reactors));
            }
        }
        catch
        {
            await (served?.DisposeAsync() ?? ValueTask.CompletedTask);
            reactors.Dispose();
            throw;
        }

        _volumes.Add(options.GetValueOrDefault("volume", UsualName), served);
        foreach (string note in served.Exports.SelectMany(export => export.Notes))
        {
            Console.WriteLine($"NOTE {note}");
        }

        return $"READY {string.Join(' ', served.Exports.Select(export => export.Endpoint.Path))}";
    }

    /// <summary>
    /// Stops a volume and disposes it; without a mode it is disposed as it is, as after a start that failed elsewhere.
    /// </summary>
    private async Task EndAsync(Served served, StopMode? mode)
    {
        if (mode is StopMode stop)
        {
            await served.StopAsync(stop);
        }

        await served.DisposeAsync();
        _volumes.Remove(_volumes.First(entry => entry.Value == served).Key);
    }

    /// <summary>Serves a volume that lies on the device that this process serves.</summary>
    private static async Task<string> NestAsync(Served below)
    {
        var options = new Dictionary<string, string> { ["volume"] = "above" };
        await using Volume above = await Volume.OpenAsync(below.Exports[0].Endpoint.Path, options, below.Reactors);
        await using IExport second = await new UblkFrontend().CreateAsync(MakeSpec(above.Device, options, 0, 1), MakeContext(below.Reactors), CancellationToken.None);
        return $"NESTED {second.Endpoint.Path}";
    }

    private static string Probe()
    {
        FrontendProbe probe = new UblkFrontend().Probe();
        return $"{(probe.Available ? "PROBED" : "ERROR")} {probe.Summary} {string.Join("; ", probe.Facts.Select(f => $"{f.Key}={f.Value}"))} {string.Join("; ", probe.Remedies)}";
    }

    private static async Task<string> ListAsync()
    {
        IReadOnlyList<UblkDeviceInfo> devices = await new UblkReaper(StateDirectory).ListAsync();
        foreach (UblkDeviceInfo device in devices)
        {
            Console.WriteLine($"DEVICE {device.Number} {device.State} pid={device.ServerPid} alive={device.ServerAlive} ours={device.IsOurs} "
                + $"export={device.ExportId} size={device.SizeBytes} mode={device.CopyMode} orphan={device.IsOrphan}");
        }

        return $"LISTED {devices.Count}";
    }

    /// <summary>Makes and deletes so many devices, two at a time.</summary>
    private static async Task<string> CycleAsync(string drive, int count, Dictionary<string, string> options)
    {
        const int AtATime = 2;
        using ReactorGroup reactors = MakeReactors(options);
        await using Volume volume = await Volume.OpenAsync(drive, options, reactors);
        (int Fds, int Threads, long Kib) before = default;
        for (int round = 0; round < count / AtATime; round++)
        {
            // The first rounds fill pools and caches; what is counted is growth after them.
            if (round == 5)
            {
                before = Measure();
            }

            // Looking for users of the device, as an idle stop does, takes long in an emulated guest.
            StopMode mode = round % 10 == 0 ? StopMode.IfIdle : StopMode.Force;
            await Task.WhenAll(Enumerable.Range(0, AtATime).Select(async index =>
            {
                IExport export = await new UblkFrontend().CreateAsync(MakeSpec(volume.Device, options, index, 2), MakeContext(reactors), CancellationToken.None);
                await export.StopAsync(mode, CancellationToken.None);
                await export.DisposeAsync();
            }));
        }

        (int Fds, int Threads, long Kib) after = Measure();
        int devices = (await new UblkReaper(StateDirectory).ListAsync()).Count;
        string figures = $"{count} devices: fds {before.Fds} to {after.Fds}, threads {before.Threads} to {after.Threads}, "
            + $"memory in use {before.Kib} to {after.Kib} KiB, devices left {devices}";

        // Pool threads of the runtime come and go; a leak would be one a device.
        bool leaks = after.Fds > before.Fds + 3 || after.Threads > before.Threads + 5 || after.Kib > before.Kib + (16 << 10) || devices != 0;
        return $"{(leaks ? "ERROR" : "CYCLED")} {figures}";
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

    private static ExportSpec MakeSpec(IBlockDevice device, Dictionary<string, string> options, int index, int queues)
    {
        string volume = options.GetValueOrDefault("volume", UsualName);
        return new ExportSpec
        {
            Id = $"{volume}/ublk/{index}",
            VolumeName = volume,
            VolumeUuid = new Guid(Number(options, "uuid") ?? 1, 0, 0, new byte[8]),
            Device = device,
            Queues = queues,
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
        long residentKib = long.Parse(resident.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);

        // What the collector keeps to give out again is no leak; what it could not free counts.
        GCMemoryInfo managed = GC.GetGCMemoryInfo();
        return (Directory.GetFiles("/proc/self/fd").Length,
            Directory.GetDirectories("/proc/self/task").Length,
            residentKib + ((managed.HeapSizeBytes - managed.TotalCommittedBytes) >> 10));
    }
}
