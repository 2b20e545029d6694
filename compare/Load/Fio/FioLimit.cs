using Polyblk.Compare.Workloads;

namespace Polyblk.Compare.Load.Fio;

/// <summary>
/// How long fio may take: what it has to do, at a speed below that of any disk worth measuring, and a margin for an emulated
/// machine on a busy host. A block device without its server lets its consumers wait for ever; a comparison does not.
/// </summary>
internal static class FioLimit
{
    private const double LeastBytesPerSecond = 2 << 20;
    private static readonly TimeSpan s_margin = TimeSpan.FromMinutes(2);

    /// <summary>For so many bytes.</summary>
    public static TimeSpan Of(long bytes, TimeSpan? margin = null) => (margin ?? s_margin) + TimeSpan.FromSeconds(bytes / LeastBytesPerSecond);

    /// <summary>For a run. On a file system the files are written first.</summary>
    public static TimeSpan Of(LoadEndpoint endpoint, Workload workload, LoadSettings settings, TimeSpan? margin = null) =>
        Of(workload.FileSystem is null ? 0 : endpoint.SizeBytes, margin) + settings.WarmUp + settings.Duration;
}
