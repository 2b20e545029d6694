using Polyblk.Compare.Load;
using Polyblk.Compare.Results;
using Polyblk.Core.Block;
using Polyblk.Drives;

namespace Polyblk.Compare.Methods;

/// <summary>
/// A baseline: a drive of the volume, without a frontend and without the array. It is only read: a write would break the array.
/// </summary>
/// <param name="drive">As it is written on a command line.</param>
/// <param name="number">Which of the volume's drives, from 1.</param>
/// <param name="byFio">Driven by fio, as block devices are; otherwise by this program's I/O core.</param>
public sealed class VolumeMember(string drive, int number, bool byFio = false) : IDeliveryMethod
{
    private const string WhyNoWrites = "a drive of the volume is only read, because a write to it would break the array";

    /// <summary>Whether fio drives it.</summary>
    public bool IsByFio => byFio;

    public MethodFacts Facts { get; } = KnownFacts.Bare(
        byFio ? "bare-drive-fio" : number == 1 ? "bare-drive" : $"bare-drive-{number}", byFio ? "bare drive, fio" : number == 1 ? "bare drive" : $"bare drive {number}", Backing.Drive);

    public string Description => $"{drive}, a drive of the volume, read {(byFio ? "by fio" : "directly by this program's I/O core")}: no frontend, no array";

    public MethodAvailability Check() =>
        !byFio ? MethodAvailability.Yes
        : DriveSpec.Parse(drive).IsVolatile ? new MethodAvailability(false, "the drive is memory of the process that serves it", [])
        : MethodAvailability.OfFio();

    public object? TurnIn(ScratchSpace scratch) => this;

    public async Task<IRunningMethod> StartAsync(ScratchSpace scratch, CancellationToken cancellation)
    {
        DriveSpec spec = DriveSpec.Parse(drive);
        long sizeBytes;
        try
        {
            await using IBlockDevice open = DriveFactory.Open(spec, readOnly: true);
            sizeBytes = open.SizeBytes;
        }
        catch (DriveException e)
        {
            throw new MethodException(e.Message, e);
        }

        if (spec.IsVolatile)
        {
            return new RunningEndpoint(new FileEndpoint(drive, sizeBytes)) { Commands = [ShellLine.NoCommand($"this program makes {drive} afresh")] };
        }

        // FileShare.ReadWrite: the framework takes no lock then.
        using var handle = File.OpenHandle(spec.Path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        KeptContent kept = await KeptContent.TakeAsync(
            sizeBytes,
            WhyNoWrites,
            async (offset, buffer) =>
            {
                if (await RandomAccess.ReadAsync(handle, buffer, offset, cancellation).ConfigureAwait(false) != buffer.Length)
                {
                    throw new IOException($"{spec.Path} ends before {offset + buffer.Length}.");
                }
            },
            cancellation).ConfigureAwait(false);
        return new RunningEndpoint(byFio ? new BlockEndpoint(spec.Path, sizeBytes) { Kept = kept } : new FileEndpoint(drive, sizeBytes) { Kept = kept })
        {
            Commands = [ShellLine.NoCommand($"{spec.Path} is there, and is only read")],
        };
    }
}

/// <summary>A method that is measured on scratch files only: in a comparison of a volume, a row that says so.</summary>
public sealed class ScratchOnly(IDeliveryMethod inner) : IDeliveryMethod
{
    public MethodFacts Facts => inner.Facts;

    public string Description => inner.Description;

    public MethodAvailability Check() => new(
        false, "it would need drives of its own, and those of the volume are in use", [$"polyblk compare --methods {inner.Facts.Id.Split('@')[0]}  # on scratch files"]);

    public Task<IRunningMethod> StartAsync(ScratchSpace scratch, CancellationToken cancellation) => throw new MethodException(Check().Reason);
}
