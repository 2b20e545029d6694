// The record of requests in flight that a front-end hands to a successor, with anything in it. Programs are those of
// RingProgram, with a log; the step that exchanges memory writes into the log instead. What the device then does to the guest's
// memory is the log's will and cannot be checked, but it stays within that memory, and the queue comes to rest.

namespace Polyblk.Fuzz.Targets;

/// <summary>A queue that starts over a log that somebody wrote.</summary>
internal sealed class InflightTarget : IFuzzTarget
{
    private const int MaxBytes = 4096;

    /// <inheritdoc/>
    public string Name => "inflight";

    /// <inheritdoc/>
    public void Run(ReadOnlySpan<byte> input)
    {
        using var program = new RingProgram(new FuzzBytes(input[..Math.Min(input.Length, MaxBytes)].ToArray()), spoilsLog: true);
        program.Run();
    }

    /// <inheritdoc/>
    public IEnumerable<(string Name, byte[] Input)> Seeds()
    {
        foreach (byte ring in new byte[] { 2, 3 })
        {
            string kind = ring == 2 ? "split" : "packed";
            yield return ($"{kind}-counter", Spoiled(ring, 0x63, 8, 0x1234));
            yield return ($"{kind}-index", Spoiled(ring, 1, 14, 3));
            yield return ($"{kind}-mark", Spoiled(ring, 0x60, 0, 1));
        }
    }

    private static byte[] Spoiled(byte ring, byte where, byte offset, ulong value)
    {
        FuzzWriter program = new FuzzWriter().Bytes((byte)(ring | 0x0C), 4, 3, 0);
        for (byte i = 0; i < 4; i++)
        {
            program.Bytes(RingProgram.OpRequest, (byte)(i & 1), i, 1, i, 0, 0, 0, 7);
        }

        program.Bytes(RingProgram.OpPoll, RingProgram.OpComplete, 1, RingProgram.OpPoll);
        program.Bytes(RingProgram.OpMemory, where, offset).Quad(value);
        return program.Bytes(
            RingProgram.OpRestart, 0, RingProgram.OpPoll, RingProgram.OpCompleteAll, RingProgram.OpPoll).ToArray();
    }
}
