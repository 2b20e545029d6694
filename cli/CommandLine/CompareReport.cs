using Polyblk.Cli.Output;
using Polyblk.Compare.Guest;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Results;
using Polyblk.Frontends;
using Polyblk.Host;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.CommandLine;

/// <summary>What <c>polyblk compare</c> makes of its results: the recorded form, the verdict, the files.</summary>
internal static class CompareReport
{
    /// <summary>The frontend that has nothing to measure on the host.</summary>
    private const string SeenFromVms = "virtio-iothread";

    /// <summary>The recorded form of what the runner collected, on its scratch volume or on one of the user's.</summary>
    public static Comparison Record(
        ComparisonResults results, CompareRequest request, CompareVolume? theirs, IReadOnlyList<IDeliveryMethod> methods, IEnumerable<IFrontend> frontends)
    {
        EnvironmentFacts environment = GuestEnvironment.Complete(new EnvironmentFacts
        {
            Host = Environment.MachineName,
            Kernel = results.Host.Kernel,
            Distribution = Distribution(),
            Cpu = results.Host.Processor,
            CpuCount = results.Host.Processors,
            MemoryBytes = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes,
            Virtualization = Virtualization.None,
            HostIsVirtual = results.Host.IsVirtual,
            ProgramVersion = ProgramVersion.Text,
            DotnetVersion = Environment.Version.ToString(),
            FioVersion = FioVersion(results.Methods.Select(m => m.Load)),
            Scratch = theirs is null ? $"{results.Host.Scratch}: {results.Host.ScratchReason}" : null,
        },
        hasMachine: methods.Any(m => m.Facts.Vantage == Vantage.Guest && results.Methods.Any(r => r.Name == m.Name && r.Ran)),
        guestSystem: methods.OfType<GuestMethod>().Select(m => m.System).FirstOrDefault(s => s is not null));
        int members = results.Settings.Members;
        VolumeFacts volume = theirs is not null ? Facts(theirs) : new VolumeFacts
        {
            Name = "a scratch volume",
            Level = request.Level,
            SizeBytes = RaidTheory.DataMembers(request.Level, members) * request.MemberBytes,
            ChunkBytes = ChunkBytes(request.Level),
            Members = [.. Enumerable.Range(0, members).Select(i => $"scratch file {i}, {request.MemberBytes >> 20} MiB")],
        };
        Comparison comparison = results.ToComparison(
            methods.ToDictionary(m => m.Name, m => m.Facts), environment, volume, GuestEnvironment.CommandLine());
        return comparison with { Methods = [.. comparison.Methods, .. Unmeasured(frontends, methods, GuestEnvironment.IsInside)] };
    }

    private static VolumeFacts Facts(CompareVolume volume) => new()
    {
        Name = volume.Volume.Name,
        Level = volume.Volume.Level,
        SizeBytes = volume.Volume.SizeBytes,
        ChunkBytes = volume.Record.ChunkBytes > 0 ? volume.Record.ChunkBytes : null,
        Members = volume.Record.Drives,
        Degraded = volume.Volume.IsDegraded,
    };

    /// <summary>fio's version among what drove the methods, the host's before a VM's; null where fio drove none.</summary>
    internal static string? FioVersion(IEnumerable<string?> loads) => loads
        .Where(l => l?.StartsWith("fio-", StringComparison.Ordinal) == true).OrderBy(l => l!.Contains(' ', StringComparison.Ordinal)).FirstOrDefault()?.Split(' ')[0];

    /// <summary>The chunk of a scratch volume; null where the level has none.</summary>
    internal static int? ChunkBytes(string level) => level is "raid1" or VolumeOpener.NoLevel ? null : VolumeMaker.CreateOptions("compare", level, chunkBytes: 0).ChunkBytes;

    /// <summary>
    /// Frontends that none of the methods is of: what keeps them from being measured here, and what would make it possible.
    /// </summary>
    /// <param name="frontends">All.</param>
    /// <param name="methods">What was asked for.</param>
    /// <param name="isInside">Whether this runs in a machine that a comparison started.</param>
    public static IEnumerable<MethodFacts> Unmeasured(IEnumerable<IFrontend> frontends, IReadOnlyList<IDeliveryMethod> methods, bool isInside)
    {
        bool hasGuests = methods.Any(m => m.Facts.Vantage == Vantage.Guest);
        foreach (IFrontend frontend in frontends.Where(f => !methods.Any(m => m.Facts.Frontend == f.Name)))
        {
            FrontendProbe probe = frontend.Probe();
            yield return KnownFacts.Frontend(frontend.Name, string.Empty, frontend.Name, Vantage.Host) with
            {
                Available = false,
                Reason = !probe.Available ? probe.Summary
                    : frontend.Name == SeenFromVms && !hasGuests ? "QEMU's own disk is seen only from inside a VM"
                    : "it was not asked for",
                Remedies = !probe.Available ? [.. probe.Remedies]
                    : [$"polyblk compare{(isInside ? " --inside-guest" : string.Empty)} {(frontend.Name == SeenFromVms ? "--vantage host,guest" : $"--methods {frontend.Name}")}"],
            };
        }
    }

    private static string? Distribution() => !File.Exists("/etc/os-release") ? null
        : File.ReadLines("/etc/os-release").FirstOrDefault(l => l.StartsWith("PRETTY_NAME=", StringComparison.Ordinal))?.Split('=', 2)[1].Trim('"');
}
