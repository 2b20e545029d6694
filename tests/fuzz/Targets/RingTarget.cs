// A guest that does what it likes with a ring and its memory, while the device works: see RingProgram for what it can do.

using Polyblk.Fuzz.Guest;

namespace Polyblk.Fuzz.Targets;

/// <summary>A queue of a virtio-blk device, with a byte-coded program as its driver.</summary>
internal sealed class RingTarget : IFuzzTarget
{
    private const int MaxBytes = 4096;

    /// <inheritdoc/>
    public string Name => "rings";

    /// <inheritdoc/>
    public void Run(ReadOnlySpan<byte> input)
    {
        using var program = new RingProgram(new FuzzBytes(input[..Math.Min(input.Length, MaxBytes)].ToArray()));
        program.Run();
    }

    /// <inheritdoc/>
    public IEnumerable<(string Name, byte[] Input)> Seeds()
    {
        foreach (byte ring in new byte[] { 0, 1, 2, 3 })
        {
            string kind = $"{(ring & 1) switch { 0 => "split", _ => "packed" }}{((ring & 2) == 0 ? string.Empty : "-log")}";
            yield return ($"{kind}-all-types", AllTypes(ring));
            yield return ($"{kind}-held", Held(ring));
            yield return ($"{kind}-restart", Restart(ring));
            yield return ($"{kind}-meanwhile", Meanwhile(ring));
        }
    }

    private static FuzzWriter Begin(byte ring, byte size = 4) => new FuzzWriter().Bytes((byte)(ring | 0x0C), size, 3, 0);

    private static FuzzWriter Request(FuzzWriter program, byte type, byte sector, byte shape, byte id) =>
        program.Bytes(RingProgram.OpRequest, type, sector, shape, id, 0, 0, 0, 7);

    private static byte[] AllTypes(byte ring)
    {
        FuzzWriter program = Begin(ring);
        for (byte type = 0; type < 7; type++)
        {
            Request(program, type, (byte)(type * 8), (byte)(type & 1), type);
            program.Bytes(RingProgram.OpPoll, RingProgram.OpCompleteAll, RingProgram.OpPoll);
        }

        return program.ToArray();
    }

    private static byte[] Held(byte ring)
    {
        FuzzWriter program = Begin(ring);
        for (byte i = 0; i < 6; i++)
        {
            Request(program, (byte)(i & 1), i, 1, i);
        }

        program.Bytes(RingProgram.OpPoll, RingProgram.OpComplete, 3, RingProgram.OpComplete, 0, RingProgram.OpPoll);
        return program.Bytes(
            RingProgram.OpPause, RingProgram.OpCompleteAll, RingProgram.OpPoll, RingProgram.OpResume, RingProgram.OpArm)
            .ToArray();
    }

    private static byte[] Restart(byte ring)
    {
        FuzzWriter program = Begin(ring);
        for (byte i = 0; i < 3; i++)
        {
            Request(program, (byte)(i & 1), i, 1, i);
        }

        program.Bytes(
            RingProgram.OpPoll, RingProgram.OpComplete, 1, RingProgram.OpPoll, RingProgram.OpRestart, 0, RingProgram.OpPoll);
        return program.Bytes(RingProgram.OpCompleteAll, RingProgram.OpPoll, RingProgram.OpKill, 4, RingProgram.OpPoll).ToArray();
    }

    private static byte[] Meanwhile(byte ring)
    {
        FuzzWriter later = new();
        Request(later, 1, 9, 1, 5);
        byte[] slice = later.ToArray();
        FuzzWriter program = Begin(ring).Bytes(RingProgram.OpInline, 1, RingProgram.OpMeanwhile, (byte)slice.Length).Bytes(slice);
        Request(program, 0, 1, 1, 0);
        return program.Bytes(RingProgram.OpPoll, RingProgram.OpPoll).ToArray();
    }
}
