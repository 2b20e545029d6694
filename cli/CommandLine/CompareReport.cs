using System.Reflection;
using Polyblk.Compare.Report;
using Polyblk.Compare.Results;
using Polyblk.Core.Frontend;

namespace Polyblk.Cli.CommandLine;

/// <summary>What <c>polyblk compare</c> makes of its results: the recorded form, the verdict, the files.</summary>
internal static class CompareReport
{
    /// <summary>The recorded form of what the runner collected on its scratch volume.</summary>
    public static Comparison Record(ComparisonResults results, long memberBytes, IEnumerable<IFrontend> frontends)
    {
        var environment = new EnvironmentFacts
        {
            Host = Environment.MachineName,
            Kernel = results.Host.Kernel,
            Distribution = Distribution(),
            Cpu = results.Host.Processor,
            CpuCount = results.Host.Processors,
            MemoryBytes = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes,
            Virtualization = Virtualization.None,
            ProgramVersion = typeof(CompareReport).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "unknown",
            DotnetVersion = Environment.Version.ToString(),
            Scratch = $"{results.Host.Scratch}: {results.Host.ScratchReason}",
        };
        int members = results.Settings.Members;
        var volume = new VolumeFacts
        {
            Name = "a scratch volume",
            Level = "raid5",
            SizeBytes = (members - 1) * memberBytes,
            Members = [.. Enumerable.Range(0, members).Select(i => $"scratch file {i}, {memberBytes >> 20} MiB")],
        };
        Comparison comparison = results.ToComparison(KnownMethods, environment, volume, string.Join(' ', Environment.GetCommandLineArgs().Skip(1).Prepend("polyblk")));
        return comparison with { Methods = [.. comparison.Methods, .. Unmeasured(frontends)] };
    }

    /// <summary>What is known before a run of the methods that the command measures, by their names.</summary>
    public static IReadOnlyDictionary<string, MethodFacts> KnownMethods { get; } = new Dictionary<string, MethodFacts>
    {
        ["bare drive"] = Facts("bare-drive", "bare drive", "polyblk", MethodRole.Bare, Backing.Drive),
        ["vhost-user, one file"] = VhostUser("vhost-user-drive", "vhost-user, one file", Backing.Drive, isMultiQueue: null),
        ["qemu-storage-daemon"] = Facts("qemu-storage-daemon-drive", "qemu-storage-daemon, one file", "qemu-storage-daemon", MethodRole.Peer, Backing.Drive),
        ["vhost-user, RAID 5, 1 queue"] = VhostUser("vhost-user-1q", "vhost-user, RAID 5, 1 queue", Backing.Volume, isMultiQueue: false),
        ["vhost-user, RAID 5, 2 queues"] = VhostUser("vhost-user-2q", "vhost-user, RAID 5, 2 queues", Backing.Volume, isMultiQueue: true),
    };

    /// <summary>Frontends that have no run: what the host lacks for them, or that this version of the command does not measure them.</summary>
    public static IEnumerable<MethodFacts> Unmeasured(IEnumerable<IFrontend> frontends)
    {
        foreach (IFrontend frontend in frontends.Where(f => !KnownMethods.Values.Any(m => m.Frontend == f.Name)))
        {
            FrontendProbe probe = frontend.Probe();
            yield return Facts(frontend.Name, frontend.Name, frontend.Name, MethodRole.Frontend, Backing.Volume) with
            {
                Available = false,
                Reason = probe.Available ? "it can be served here, but this command does not measure it yet" : probe.Summary,
                Remedies = probe.Available ? [] : [.. probe.Remedies],
                Reaches = frontend.Name switch
                {
                    "ublk" => [Consumer.Container],
                    "virtio-iothread" => [Consumer.Vm],
                    _ => [Consumer.Vm, Consumer.Container],
                },
            };
        }
    }

    private static MethodFacts VhostUser(string id, string title, Backing backing, bool? isMultiQueue) => Facts(id, title, "vhost-user", MethodRole.Frontend, backing) with
    {
        Reaches = [Consumer.Vm],
        CopyMode = "none: the consumer's memory is read and written in place; parity is computed from one pass over it",
        Features = new MethodFeatures { MultiQueue = isMultiQueue },
        Needs = new MethodNeeds { SharedMemory = true, Programs = ["QEMU"] },
    };

    private static MethodFacts Facts(string id, string title, string frontend, MethodRole role, Backing backing) => new()
    {
        Id = $"{id}@host", Title = title, Frontend = frontend, Role = role, Vantage = Vantage.Host, Backing = backing, Available = true,
    };

    private static string? Distribution() => !File.Exists("/etc/os-release") ? null
        : File.ReadLines("/etc/os-release").FirstOrDefault(l => l.StartsWith("PRETTY_NAME=", StringComparison.Ordinal))?.Split('=', 2)[1].Trim('"');
}
