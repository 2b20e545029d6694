// A client of an NBD export, from its first byte on: it haggles or not, sends requests or what looks like them, reads its
// replies or does not, and goes away. See NbdProgram for what it can do.

using Polyblk.Frontends.Nbd;

namespace Polyblk.Fuzz.Targets;

/// <summary>The handshake and the transmission phase of one connection.</summary>
internal sealed class NbdTarget : IFuzzTarget
{
    private const int MaxBytes = 4096;

    /// <inheritdoc/>
    public string Name => "nbd";

    /// <inheritdoc/>
    public void Run(ReadOnlySpan<byte> input)
    {
        using var program = new NbdProgram(new FuzzBytes(input[..Math.Min(input.Length, MaxBytes)].ToArray()));
        program.Run();
    }

    /// <inheritdoc/>
    public IEnumerable<(string Name, byte[] Input)> Seeds()
    {
        byte[] go = [0, 0, 0, 3, .. Option(8), .. Option(10, Meta("base:allocation")), .. Option(7, [0, 0, 0, 0, 0, 0])];
        byte[] info = [0, 0, 0, 4, .. "data"u8, 0, 1, 0, 3];
        byte[] all = [0, 0, 0, 3, .. Option(3), .. Option(6, info), .. Option(9, Meta("base:")), .. Option(5), .. Option(2)];
        yield return ("handshake-go", With(0, go, []));
        yield return ("handshake-options", With(0, [.. all, .. Option(1)], []));
        yield return ("handshake-old", With(0, [0, 0, 0, 1, .. Option(1, "data"u8)], []));
        yield return ("commands", With(1, [], Commands(held: false)));
        yield return ("commands-held", With(1, [], Commands(held: true)));
        yield return ("commands-structured", With(3, [], Commands(held: true)));
        yield return ("commands-read-only", With(9, [], Commands(held: false)));
        yield return ("handshake-commands", With(0, go, Commands(held: true)));
    }

    private static byte[] With(byte kind, ReadOnlySpan<byte> handshake, ReadOnlySpan<byte> program) =>
        new FuzzWriter().Bytes(kind, 0).Word((ushort)handshake.Length).Bytes(handshake).Bytes(program).ToArray();

    private static byte[] Option(uint number, ReadOnlySpan<byte> data = default) =>
        [.. "IHAVEOPT"u8, 0, 0, 0, (byte)number, 0, 0, 0, (byte)data.Length, .. data];

    private static byte[] Meta(string query) =>
        [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, (byte)query.Length, .. System.Text.Encoding.ASCII.GetBytes(query)];

    private static byte[] Commands(bool held)
    {
        var program = new FuzzWriter().Bytes(NbdProgram.OpInline, (byte)(held ? 0 : 1));
        foreach (NbdCommand command in new[]
        {
            NbdCommand.Write, NbdCommand.Read, NbdCommand.Flush, NbdCommand.Trim, NbdCommand.WriteZeroes, NbdCommand.BlockStatus,
        })
        {
            program.Bytes(NbdProgram.OpRequest, (byte)command, 1, 2, 3, NbdProgram.OpStep);
        }

        program.Bytes(
            NbdProgram.OpCompleteAll, NbdProgram.OpStep, NbdProgram.OpRead, 0xFF, NbdProgram.OpDrain, NbdProgram.OpStep);
        return program.Bytes(
            NbdProgram.OpResume, NbdProgram.OpRequest, (byte)NbdCommand.Disconnect, 0, 0, 0, NbdProgram.OpStep).ToArray();
    }
}
