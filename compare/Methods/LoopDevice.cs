// The loop driver over one member-sized file: what the kernel itself makes of a file. Root.

using Polyblk.Compare.Load;
using Polyblk.Compare.Results;
using Polyblk.Core.Interop;

namespace Polyblk.Compare.Methods;

/// <summary>The peer: /dev/loopN.</summary>
public sealed class LoopDevice : IDeliveryMethod
{
    private static readonly MethodNeeds s_needs = new() { KernelModules = ["loop"], Privileges = ["root"], Programs = ["losetup"] };

    public MethodFacts Facts { get; } = KnownFacts.Peer("loop", string.Empty, "loop driver, one file", Vantage.Host, Backing.Drive, s_needs) with { Reaches = [Consumer.Container], Features = KnownFacts.PeerFeatures("loop") };

    public string Description => "the kernel's loop driver over one member-sized file; its work is done by kernel threads, which cannot be told apart from others";

    public MethodAvailability Check() => CheckHost();

    public async Task<IRunningMethod> StartAsync(ScratchSpace scratch, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(scratch);
        string file = scratch.PathOf("loop.img");
        await ScratchFile.CreateAsync(file, scratch.MemberBytes, cancellation).ConfigureAwait(false);
        (string device, string command) = await AttachAsync(file, cancellation).ConfigureAwait(false);
        return new RunningEndpoint(new BlockEndpoint(device, scratch.SpanBytes)) { Commands = [ScratchFile.Command(file, scratch.MemberBytes), command], End = () => DetachAsync(device) };
    }

    /// <summary>Whether loop devices can be made here.</summary>
    internal static MethodAvailability CheckHost() =>
        ProgramPath.TryFind("losetup") is null ? new MethodAvailability(false, "losetup is not installed", ["apt-get install mount"])
        : !Environment.IsPrivilegedProcess ? new MethodAvailability(false, "making a loop device needs root", ["run polyblk compare as root"])
        : !File.Exists("/dev/loop-control") ? new MethodAvailability(false, "the kernel has no loop driver loaded", ["modprobe loop"])
        : MethodAvailability.OfFio();

    /// <summary>Makes a loop device over a file, with direct I/O where the file system has it.</summary>
    internal static async Task<(string Device, string Command)> AttachAsync(string file, CancellationToken cancellation)
    {
        // Not cancelled half-way: the device would be there, and nobody would know its name.
        cancellation.ThrowIfCancellationRequested();
        // util-linux with direct I/O; without, since tmpfs has none before Linux 6.6; and what every losetup knows.
        string[][] ways = [["losetup", "--find", "--show", "--direct-io=on", file], ["losetup", "--find", "--show", file]];
        foreach (string[] way in ways)
        {
            try
            {
                return ((await Command.RunAsync(way, CancellationToken.None).ConfigureAwait(false)).Trim(), string.Join(' ', way));
            }
            catch (MethodException)
            {
                continue;
            }
        }

        string device = (await Command.RunAsync(["losetup", "-f"], CancellationToken.None).ConfigureAwait(false)).Trim();
        await Command.RunAsync(["losetup", device, file], CancellationToken.None).ConfigureAwait(false);
        return (device, $"losetup {device} {file}");
    }

    internal static async ValueTask DetachAsync(string device) =>
        await Command.RunAsync(["losetup", "-d", device], CancellationToken.None).ConfigureAwait(false);
}
