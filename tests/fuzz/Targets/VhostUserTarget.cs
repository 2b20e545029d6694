// A vhost-user front-end that sends what it likes, with whatever descriptors, while its guest works in rings that come and go.
// See VhostUserProgram.

using Polyblk.Virtio.VhostUser;

namespace Polyblk.Fuzz.Targets;

/// <summary>The messages of one session.</summary>
internal sealed class VhostUserTarget : IFuzzTarget
{
    private const int MaxBytes = 4096;
    private const int LeakRuns = 3;

    /// <inheritdoc/>
    public string Name => "vhost-user";

    /// <inheritdoc/>
    public void Run(ReadOnlySpan<byte> input)
    {
        byte[] bytes = input[..Math.Min(input.Length, MaxBytes)].ToArray();
        for (int runs = 1; ; runs++)
        {
            using var program = new VhostUserProgram(new FuzzBytes(bytes));
            program.Run();
            if (!program.LeftDescriptor)
            {
                return;
            }

            // Whatever else runs in this process opens descriptors now and then; a leak is there each time.
            FuzzFailureException.Require(runs < LeakRuns, "A descriptor is left open, each time.");
        }
    }

    /// <inheritdoc/>
    public IEnumerable<(string Name, byte[] Input)> Seeds()
    {
        const byte attach = VhostUserProgram.OpAttach;
        const byte message = VhostUserProgram.OpMessage;
        const byte request = VhostUserProgram.OpRequest;
        const byte step = VhostUserProgram.OpStep;
        yield return ("attach", Begin(attach, 0, request, 0, step));
        yield return ("attach-packed", Begin(attach, 2, request, 0, step));
        yield return ("attach-inflight", Begin(
            attach, 4, VhostUserProgram.OpHold, 1, request, 1, step, message, (byte)VhostUserRequest.RESET_DEVICE, 0));
        yield return ("truncated", Begin(attach, 1, request, 0, VhostUserProgram.OpTruncate, 0, 1, step));
        for (byte number = 1; number < 41; number++)
        {
            yield return ($"message-{number}", Begin(attach, 1, message, number, 8, 1, 0, 1, 0, 0));
        }
    }

    private static byte[] Begin(params ReadOnlySpan<byte> program) => new FuzzWriter().Bytes(0).Bytes(program).ToArray();
}
