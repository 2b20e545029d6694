namespace Polyblk.Frontends.VirtioIothread;

/// <summary>The frontend by which QEMU opens the volume.</summary>
/// <param name="Name">The frontend's name.</param>
/// <param name="OptionsFor">Its options for a volume of this name.</param>
/// <param name="WhyNot">Why it does not serve without a step of the user's, by its probe; null when it does.</param>
internal sealed record Carrier(string Name, Func<string, IReadOnlyDictionary<string, string>> OptionsFor, Func<FrontendProbe, string?> WhyNot)
{
    /// <summary>Names that are longer are refused by the vdpa bus's side.</summary>
    private const int MaxVduseName = 64;

    private static readonly IReadOnlyDictionary<string, string> s_none = new Dictionary<string, string>();

    /// <summary>
    /// All of them, the best first: a block device of the kernel spares QEMU the NBD protocol; ublk's way is shorter than
    /// VDUSE's.
    /// </summary>
    public static IReadOnlyList<Carrier> ByPreference { get; } =
    [
        new("ublk", _ => s_none, WhyUnavailable),
        new("vduse", volume => new Dictionary<string, string> { ["attach"] = "virtio", ["vduse-name"] = VduseName(volume) }, WhyNotVduse),
        new("nbd", _ => s_none, WhyUnavailable),
    ];

    /// <summary>Their names.</summary>
    public static IEnumerable<string> Names => ByPreference.Select(c => c.Name);

    private static string? WhyUnavailable(FrontendProbe probe) => probe.Available ? null : probe.Summary;

    /// <summary>It serves without being attached; QEMU needs the block device.</summary>
    private static string? WhyNotVduse(FrontendProbe probe) => WhyUnavailable(probe)
        ?? (probe.Remedies.Count > 0 ? $"the kernel has it, but something is missing ({string.Join("; ", probe.Remedies)})."
        : probe.Facts.GetValueOrDefault("virtio_vdpa") != "loaded" ? "the kernel has it, but not the driver for block devices (modprobe virtio_vdpa)."
        : null);

    /// <summary>Another name than that of the volume, which the frontend vduse itself takes.</summary>
    private static string VduseName(string volume)
    {
        string name = volume + "-qemu";
        return name.Length <= MaxVduseName ? name : name[^MaxVduseName..];
    }
}
