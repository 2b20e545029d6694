using System.Globalization;
using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Core.Block;
using Polyblk.Core.Drives;
using Polyblk.Core.Frontend;
using Polyblk.Core.Reactors;
using Polyblk.Frontends.Ublk;

namespace Polyblk.UblkTestHost;

/// <summary>
/// Obeys lines of standard input and answers each with a line in capitals, or ERROR and the message. Serves one volume after the other:
/// <c>serve DRIVE [name=value ...]</c> with id, volume, queues, depth, reactors, read-only, copy-mode, max-io, number, unprivileged, fake
/// (see <see cref="CpuNeedingDevice"/>), new (see <see cref="Volume"/>); then stop, force, handover, resize, drain and so on.
/// </summary>
internal sealed class Server
{
    private const string StateDirectory = "/tmp/state";
    private const string RuntimeDirectory = "/run/polyblk";

    private Volume? _volume;
    private IExport? _export;
    private ReactorGroup? _reactors;

    public async Task<int> RunAsync()
    {
        Console.WriteLine("UP");
        while (await Console.In.ReadLineAsync() is { } line)
        {
            try
            {
                if (await ObeyAsync(line.Split(' ')))
                {
                    return 0;
                }
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

    private async Task<bool> ObeyAsync(string[] words)
    {
        switch (words[0])
        {
            case "serve":
                await ServeAsync(words[1], Options(words.Skip(2)));
                return false;
            case "cycle":
                await CycleAsync(words[1], int.Parse(words[2], CultureInfo.InvariantCulture), Options(words.Skip(3)));
                return false;
            case "nest":
                await NestAsync();
                return false;
            case "probe":
                Probe();
                return false;
            case "list":
                await ListAsync();
                return false;
            case "delete":
                await new UblkReaper(StateDirectory).DeleteAsync(uint.Parse(words[1], CultureInfo.InvariantCulture), force: false);
                Console.WriteLine("DELETED");
                return false;
            case "stop":
                await StopAsync(StopMode.IfIdle);
                return false;
            case "force":
                await StopAsync(StopMode.Force);
                return false;
            case "handover":
                await _export!.StopAsync(StopMode.HandOver, CancellationToken.None);
                Console.WriteLine("HANDED");
                return true;
            case "handover-stay":
                await _export!.StopAsync(StopMode.HandOver, CancellationToken.None);
                await CloseAsync();
                Console.WriteLine("HANDED");
                return false;
            case "resize":
                await ((FileDrive)_volume!.Device).RefreshSizeAsync();
                await _export!.ResizeAsync(CancellationToken.None);
                Console.WriteLine($"RESIZED {_volume.Device.SizeBytes}");
                return false;
            case "drain":
                await _export!.DrainAsync(CancellationToken.None);
                Console.WriteLine("DRAINED");
                return false;
            case "resume":
                await _export!.ResumeAsync(CancellationToken.None);
                Console.WriteLine("RESUMED");
                return false;
            case "stats":
                Console.WriteLine($"STATS {_export!.GetStatistics()}");
                return false;
            case "settle":
                await _volume!.SettleAsync();
                Console.WriteLine("SETTLED");
                return false;
            case "fail":
                _volume!.Fail(int.Parse(words[1], CultureInfo.InvariantCulture));
                Console.WriteLine("FAILED");
                return false;
            case "health":
                Console.WriteLine($"HEALTH {_volume!.Health}");
                return false;
            default:
                Console.WriteLine($"ERROR no command '{words[0]}'");
                return false;
        }
    }

    private async Task ServeAsync(string drive, Dictionary<string, string> options)
    {
        _reactors = MakeReactors(options);
        try
        {
            _volume = await Volume.OpenAsync(drive, options, _reactors);
            _export = await new UblkFrontend().CreateAsync(MakeSpec(_volume.Device, options), MakeContext(_reactors), CancellationToken.None);
        }
        catch
        {
            await CloseAsync();
            throw;
        }

        foreach (string note in _export.Notes)
        {
            Console.WriteLine($"NOTE {note}");
        }

        Console.WriteLine($"READY {_export.Endpoint.Path} {string.Join(',', _export.GetStatistics().QueueReactors)}");
        _ = _export.Completion.ContinueWith(
            t => Console.WriteLine($"ENDED {t.Exception!.InnerException!.Message}"), CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
    }

    private async Task StopAsync(StopMode mode)
    {
        await _export!.StopAsync(mode, CancellationToken.None);
        await CloseAsync();
        Console.WriteLine("STOPPED");
    }

    private async Task CloseAsync()
    {
        if (_export is not null)
        {
            await _export.DisposeAsync();
        }

        if (_volume is not null)
        {
            await _volume.DisposeAsync();
        }

        _reactors?.Dispose();
        (_export, _volume, _reactors) = (null, null, null);
    }

    /// <summary>Serves a volume that lies on the device that this process serves.</summary>
    private async Task NestAsync()
    {
        var options = new Dictionary<string, string> { ["volume"] = "above" };
        await using Volume above = await Volume.OpenAsync(_export!.Endpoint.Path, options, _reactors!);
        await using IExport second = await new UblkFrontend().CreateAsync(MakeSpec(above.Device, options), MakeContext(_reactors!), CancellationToken.None);
        Console.WriteLine($"NESTED {second.Endpoint.Path}");
    }

    private static void Probe()
    {
        FrontendProbe probe = new UblkFrontend().Probe();
        Console.WriteLine($"{(probe.Available ? "PROBED" : "ERROR")} {probe.Summary} {string.Join("; ", probe.Facts.Select(f => $"{f.Key}={f.Value}"))} {string.Join("; ", probe.Remedies)}");
    }

    private static async Task ListAsync()
    {
        IReadOnlyList<UblkDeviceInfo> devices = await new UblkReaper(StateDirectory).ListAsync();
        foreach (UblkDeviceInfo device in devices)
        {
            Console.WriteLine($"DEVICE {device.Number} {device.State} pid={device.ServerPid} alive={device.ServerAlive} ours={device.IsOurs} "
                + $"export={device.ExportId} size={device.SizeBytes} mode={device.CopyMode} orphan={device.IsOrphan}");
        }

        Console.WriteLine($"LISTED {devices.Count}");
    }

    private static async Task CycleAsync(string drive, int count, Dictionary<string, string> options)
    {
        using ReactorGroup reactors = MakeReactors(options);
        await using Volume volume = await Volume.OpenAsync(drive, options, reactors);
        (int Fds, int Threads, long Kib) before = default;
        for (int i = 0; i < count; i++)
        {
            // The first rounds fill pools and caches; what is counted is growth after them.
            if (i == 5)
            {
                before = Measure();
            }

            IExport export = await new UblkFrontend().CreateAsync(MakeSpec(volume.Device, options), MakeContext(reactors), CancellationToken.None);

            // Looking for users of the device, as an idle stop does, takes long in an emulated guest.
            await export.StopAsync(i % 10 == 0 ? StopMode.IfIdle : StopMode.Force, CancellationToken.None);
            await export.DisposeAsync();
        }

        (int Fds, int Threads, long Kib) after = Measure();
        int devices = (await new UblkReaper(StateDirectory).ListAsync()).Count;
        string figures = $"{count} rounds: fds {before.Fds} to {after.Fds}, threads {before.Threads} to {after.Threads}, "
            + $"resident {before.Kib} to {after.Kib} KiB, devices left {devices}";

        // Pool threads of the runtime come and go; a leak would be one a round.
        bool leaks = after.Fds > before.Fds + 3 || after.Threads > before.Threads + 5 || after.Kib > before.Kib + (32 << 10) || devices != 0;
        Console.WriteLine($"{(leaks ? "ERROR" : "CYCLED")} {figures}");
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
