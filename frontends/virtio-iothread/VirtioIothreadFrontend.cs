// The fourth door: QEMU's own virtio-blk device, with one iothread or with many (iothread-vq-mapping).
//
// QEMU must be able to open the volume. The carrier is another frontend, found by name: a block device of this host (ublk, VDUSE)
// where that is to be had, else an NBD export on a Unix socket, which always is. The choice is made when the export is made and
// told in its notes.

using System.Globalization;
using Microsoft.Extensions.DependencyInjection;
using Polyblk.Core.Reactors;

namespace Polyblk.Frontends.VirtioIothread;

/// <summary>Serves a volume to QEMU's built-in virtio-blk and says how to attach it.</summary>
public sealed class VirtioIothreadFrontend(IFrontendCatalog catalog) : IFrontend
{
    internal const string FrontendName = "virtio-iothread";

    /// <inheritdoc/>
    public string Name => FrontendName;

    /// <inheritdoc/>
    public string Description => "QEMU's own virtio-blk with one iothread or many (iothread-vq-mapping, QEMU 9.0 and later).";

    /// <inheritdoc/>
    public IReadOnlyList<FrontendOption> Options { get; } =
    [
        new("vcpus", "N", "vCPUs of the guest; the number of queues follows it. Default 4.", []),
        new("iothreads", "N", "Iothreads; 1 is the single-iothread method. Default: half the vCPUs, at most this host's processors.", []),
        new("iothread-cpus", "CPUSET", "Processors to pin the iothreads to, one each in turn, for example 4-11. Default: no pinning.", []),
        new("carrier", "NAME", "How QEMU opens the volume. Default auto: ublk where this host has it, else vduse where it is ready, else nbd.", ["auto", .. Carrier.Names]),
        new("qemu", "PROGRAM", $"The QEMU whose version is checked. Default {QemuProgram.DefaultName}.", []),
    ];

    /// <inheritdoc/>
    public FrontendProbe Probe()
    {
        Version? version = QemuProgram.FindVersion(QemuProgram.DefaultName);
        string carriers = string.Join(", ", Carrier.ByPreference.Where(c => catalog.Find(c.Name)?.Probe() is { } probe && c.WhyNot(probe) is null).Select(c => c.Name));
        var facts = new Dictionary<string, string> { ["qemu"] = version?.ToString() ?? "not installed", ["carriers"] = carriers };
        if (version is null)
        {
            return new FrontendProbe(true, "QEMU is not installed here; the volume can be served to one that comes later.", ["apt-get install qemu-system-x86"], facts);
        }

        return version >= QemuProgram.FirstWithMapping
            ? new FrontendProbe(true, $"QEMU {version} maps queues to many iothreads.", [], facts)
            : new FrontendProbe(true, $"QEMU {version} has one iothread a disk only.", [$"install QEMU {QemuProgram.FirstWithMapping} or later for iothread-vq-mapping"], facts);
    }

    /// <inheritdoc/>
    public async Task<IExport> CreateAsync(ExportSpec spec, ExportContext context, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(spec);
        IothreadPlan plan = MakePlan(spec);
        var notes = new List<string>();
        CheckQemu(spec, plan, notes);
        Carrier carrier = ChooseCarrier(spec, notes);
        IExport inner = await catalog.Find(carrier.Name)!.CreateAsync(spec with { Options = carrier.OptionsFor(spec.VolumeName), Queues = null, QueueSize = null }, context, cancellation)
            .ConfigureAwait(false);
        return new VirtioIothreadExport(spec, inner, plan, notes);
    }

    /// <summary>Works out the shape of the disk.</summary>
    /// <exception cref="FrontendException">An option makes no sense.</exception>
    internal static IothreadPlan MakePlan(ExportSpec spec)
    {
        int vcpus = ReadNumber(spec, "vcpus", 4, 1, 1024);
        int queues = spec.Queues ?? Math.Min(vcpus, IothreadPlan.MaxQueues);
        int iothreads = ReadNumber(spec, "iothreads", Math.Clamp(vcpus / 2, 1, Math.Min(queues, Environment.ProcessorCount)), 1, 256);
        if (iothreads > queues)
        {
            throw new FrontendOptionException($"{iothreads} iothreads for {queues} queues: some would have nothing to do. Use at most {queues}, or more --vcpus or --queues.");
        }

        int size = spec.QueueSize ?? 256;
        if (!int.IsPow2(size) || size is < 4 or > 1024)
        {
            throw new FrontendOptionException($"Queue size {size}: QEMU wants a power of two from 4 to 1024.");
        }

        IReadOnlyList<int> cpus = [];
        if (spec.Options.TryGetValue("iothread-cpus", out string? text))
        {
            try
            {
                cpus = CpuSet.Parse(text).Cpus;
            }
            catch (FormatException e)
            {
                throw new FrontendOptionException(e.Message, e);
            }
        }

        return new IothreadPlan(vcpus, iothreads, queues, size, cpus);
    }

    private static int ReadNumber(ExportSpec spec, string option, int @default, int least, int most)
    {
        if (!spec.Options.TryGetValue(option, out string? text))
        {
            return @default;
        }

        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int value) && value >= least && value <= most
            ? value
            : throw new FrontendOptionException($"--{option} {text}: it wants a number from {least} to {most}.");
    }

    private static void CheckQemu(ExportSpec spec, IothreadPlan plan, List<string> notes)
    {
        string program = spec.Options.GetValueOrDefault("qemu", QemuProgram.DefaultName);
        Version? version = QemuProgram.FindVersion(program);
        if (version is null)
        {
            notes.Add($"{program} is not installed here, so its version was not checked; more than one iothread needs {QemuProgram.FirstWithMapping}.");
        }
        else if (plan.Iothreads > 1 && version < QemuProgram.FirstWithMapping)
        {
            throw new FrontendException(
                $"{program} is version {version}, and iothread-vq-mapping needs {QemuProgram.FirstWithMapping} or later: install a newer QEMU, or use --iothreads 1.");
        }

        if (plan.Iothreads > Environment.ProcessorCount)
        {
            notes.Add($"{plan.Iothreads} iothreads are more than this host's {Environment.ProcessorCount} processors: they will wait for one another.");
        }
    }

    private Carrier ChooseCarrier(ExportSpec spec, List<string> notes)
    {
        string wanted = spec.Options.GetValueOrDefault("carrier", "auto");
        if (wanted != "auto")
        {
            return Carrier.ByPreference.FirstOrDefault(c => c.Name == wanted && catalog.Find(wanted) is not null)
                ?? throw new FrontendOptionException($"There is no carrier '{wanted}': use {string.Join(", ", Carrier.Names)} or auto.");
        }

        foreach (Carrier carrier in Carrier.ByPreference)
        {
            if (catalog.Find(carrier.Name) is not IFrontend frontend)
            {
                continue;
            }

            if (carrier.WhyNot(frontend.Probe()) is not string reason)
            {
                notes.Add($"QEMU opens the volume by {carrier.Name}.");
                return carrier;
            }

            notes.Add($"Not by {carrier.Name}: {reason}");
        }

        throw new FrontendException("No frontend that QEMU could open is available on this host.");
    }
}

/// <summary>Registration.</summary>
public static class VirtioIothreadServices
{
    /// <summary>Adds the frontend <c>virtio-iothread</c>.</summary>
    public static IServiceCollection AddVirtioIothread(this IServiceCollection services) => services.AddSingleton<IFrontend, VirtioIothreadFrontend>();
}
