using Polyblk.Compare.Load;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Results;

namespace Polyblk.Compare.Guest;

/// <summary>
/// A disk of a machine that the user runs and has attached by a method of his choice. Who serves it is not known here.
/// </summary>
/// <param name="machine">The machine.</param>
/// <param name="facts">What the user says of it.</param>
/// <param name="device">The disk in there. Everything on it is overwritten.</param>
public sealed class SshDisk(SshMachine machine, MethodFacts facts, string device) : IDeliveryMethod
{
    public MethodFacts Facts => facts;

    public string Description => $"{device} of the virtual machine {machine.Destination}, as its owner attached it";

    public MethodAvailability Check() => SshMachine.Check();

    public async Task<IRunningMethod> StartAsync(ScratchSpace scratch, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(scratch);
        long sizeBytes = await machine.InspectAsync(device, cancellation).ConfigureAwait(false);
        return sizeBytes < scratch.SpanBytes
            ? throw new MethodException($"{device} has {sizeBytes} bytes, {scratch.SpanBytes} are to be used; a smaller --member-size makes that less")
            : new RunningEndpoint(new GuestEndpoint(machine, device, scratch.SpanBytes)) { Commands = [ShellLine.Of("ssh", machine.Destination), "# in the virtual machine:"] };
    }
}
