using System.ComponentModel;
using System.Text.Json.Serialization;

namespace Polyblk.Compare.Results;

[Description("The machine and the software that the figures belong to.")]
public sealed record EnvironmentFacts
{
    [Description("Host name, or a name that the user gave.")]
    public required string Host { get; init; }

    [Description("Release of the kernel that ran the methods.")]
    public required string Kernel { get; init; }

    [Description("Distribution, as os-release calls it.")]
    public string? Distribution { get; init; }

    [Description("Model of the processor.")]
    public required string Cpu { get; init; }

    [Description("Processors that the comparison could use.")]
    public required int CpuCount { get; init; }

    [Description("Memory in bytes.")]
    public long? MemoryBytes { get; init; }

    [Description("How VMs ran, or the machine itself if the comparison ran inside one. With emulation, only ratios count.")]
    public required Virtualization Virtualization { get; init; }

    [Description("Whether the host is a virtual machine itself, by its processor's hypervisor flag. Absent where that is not known.")]
    public bool? HostIsVirtual { get; init; }

    [Description("Whether the whole comparison ran inside a VM that it started (--inside-guest).")]
    public bool InsideGuest { get; init; }

    [Description("What the VM of the guest vantage booted: the system, its kernel, and the image's name if it came from one.")]
    public string? GuestSystem { get; init; }

    [Description("Version of this program.")]
    public required string ProgramVersion { get; init; }

    [Description("Version of .NET.")]
    public required string DotnetVersion { get; init; }

    [Description("Version of QEMU, where it was used.")]
    public string? QemuVersion { get; init; }

    [Description("Version of fio, where it was used.")]
    public string? FioVersion { get; init; }

    [Description("Where the scratch files were, and why there.")]
    public string? Scratch { get; init; }

    [Description("What else went on while it was measured.")]
    public NoiseReadings Noise { get; init; } = new();
}

[Description("Signs that something else than the methods decided the figures. What could not be read is absent.")]
public sealed record NoiseReadings
{
    [Description("Share of processor time that the hypervisor gave to others (steal), in percent of all.")]
    public double? StealPercent { get; init; }

    [Description("Share of processor time that was used by neither the target nor the load, in percent of all.")]
    public double? OtherLoadPercent { get; init; }

    [Description("Share of processor time that the hypervisor gave to others in the second before anything was started, in percent of all.")]
    public double? StealPercentBefore { get; init; }

    [Description("Share of processor time that other programs used in the second before anything was started, in percent of all.")]
    public double? OtherLoadPercentBefore { get; init; }

    [Description("Load average over one minute before the comparison began.")]
    public double? LoadAverageAtStart { get; init; }

    [Description("Largest distance of the reference run's result in any round from its median, in percent of the median.")]
    public double? ReferenceDriftPercent { get; init; }
}

/// <summary>What kind of virtual machine was under the figures.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<Virtualization>))]
public enum Virtualization
{
    /// <summary>None: only methods on the host were measured.</summary>
    [JsonStringEnumMemberName("none")]
    None,

    /// <summary>KVM.</summary>
    [JsonStringEnumMemberName("kvm")]
    Kvm,

    /// <summary>QEMU's emulator (TCG).</summary>
    [JsonStringEnumMemberName("emulation")]
    Emulation,
}
