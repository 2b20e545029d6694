using System.Diagnostics;
using Polyblk.Compare.Guest;
using Polyblk.Compare.Load;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Results;
using Polyblk.Machine;

namespace Polyblk.Cli.CommandLine;

/// <summary>
/// What a comparison inside a machine cannot know by itself, and its host tells it: who the host is, and how the machine runs.
/// </summary>
internal static class GuestEnvironment
{
    /// <summary>
    /// The environment variable that carries it: accelerator, host's name, QEMU's version, and the command that was typed there,
    /// with bars between.
    /// </summary>
    public const string Variable = "POLYBLK_INSIDE_GUEST";

    /// <summary>Whether this program runs inside a machine that a comparison started.</summary>
    public static bool IsInside => Environment.GetEnvironmentVariable(Variable) is not null;

    /// <summary>Its value for a machine of this host.</summary>
    public static string Describe(string accelerator) => Describe(accelerator, Environment.MachineName, QemuVersion(), OwnCommandLine());

    internal static string Describe(string accelerator, string host, string qemu, string commandLine) => $"{accelerator}|{host}|{qemu}|{commandLine}";

    /// <summary>The command that was typed: on the host, where this runs in a machine that a comparison started.</summary>
    public static string CommandLine() => CommandLine(Environment.GetEnvironmentVariable(Variable)) ?? OwnCommandLine();

    internal static string? CommandLine(string? described) => Parts(described) is [_, _, _, string typed] ? typed : null;

    private static string OwnCommandLine() => ShellLine.Of(["polyblk", .. Environment.GetCommandLineArgs().Skip(1)]);

    /// <summary>The command comes last: it may hold bars itself.</summary>
    private static string[]? Parts(string? described) => described?.Split('|', 4);

    /// <summary>QEMU's version on this host, as in <c>10.0.2</c>.</summary>
    public static string QemuVersion()
    {
        using Process qemu = Process.Start(new ProcessStartInfo(HostProgram.Find("qemu-system-x86_64"), ["--version"]) { RedirectStandardOutput = true })!;
        string line = qemu.StandardOutput.ReadLine() ?? "";
        qemu.WaitForExit();
        return line.Replace("QEMU emulator version ", "", StringComparison.Ordinal).Split(' ')[0];
    }

    /// <summary>How machines run with this accelerator.</summary>
    public static Virtualization Virtualization(string accelerator) =>
        accelerator == "kvm" ? Compare.Results.Virtualization.Kvm : Compare.Results.Virtualization.Emulation;

    /// <summary>What a reader has to know of methods whose machine runs in a machine.</summary>
    public static IEnumerable<string> NotesOf(IEnumerable<IDeliveryMethod> methods) =>
        IsInside && methods.OfType<GuestMethod>().Any()
            ? [$"The methods of a virtual machine were measured in one that ran inside the machine of --inside-guest, by {(MachineCache.IsEmulated() ? "nested emulation" : "nested KVM")}: compare them with one another only."]
            : [];

    /// <summary>
    /// Completes the facts if this program runs inside a machine that a comparison started, or started one itself.
    /// </summary>
    /// <param name="facts">What is known without machines.</param>
    /// <param name="hasMachine">Whether it started one.</param>
    /// <param name="guestSystem">What that booted.</param>
    public static EnvironmentFacts Complete(EnvironmentFacts facts, bool hasMachine, string? guestSystem) =>
        Parts(Environment.GetEnvironmentVariable(Variable)) is [string accelerator, string host, string qemu, _]
            ? facts with { InsideGuest = true, HostIsVirtual = null, Virtualization = Virtualization(accelerator), Host = host, QemuVersion = qemu, GuestSystem = hasMachine ? guestSystem : null }
        : hasMachine ? facts with { Virtualization = Virtualization(MachineCache.Accelerator()), QemuVersion = QemuVersion(), GuestSystem = guestSystem }
        : facts;
}
