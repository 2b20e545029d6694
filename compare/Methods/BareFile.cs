using Polyblk.Compare.Load;
using Polyblk.Compare.Results;

namespace Polyblk.Compare.Methods;

/// <summary>A baseline: one file like the members, without a frontend and without an array.</summary>
/// <param name="byFio">Driven by fio, as block devices are; otherwise by this program's I/O core, as the members are.</param>
/// <param name="fileName">Name of its file in the scratch space; null for one of its own.</param>
public sealed class BareFile(bool byFio = false, string? fileName = null) : IDeliveryMethod
{
    /// <summary>Id of the one that fio drives.</summary>
    public const string FioId = "bare-drive-fio@host";

    /// <summary>Whether fio drives it.</summary>
    public bool IsByFio => byFio;

    public MethodFacts Facts { get; } = byFio
        ? KnownFacts.Bare("bare-drive-fio", "bare drive, fio", Backing.Drive)
        : KnownFacts.Bare("bare-drive", "bare drive", Backing.Drive);

    public string Description => byFio
        ? "one member-sized file, driven by fio: what a block device method could reach at best"
        : "one member-sized file, driven directly by this program's I/O core: no frontend, no array";

    public MethodAvailability Check() => byFio ? MethodAvailability.OfFio() : MethodAvailability.Yes;

    public async Task<IRunningMethod> StartAsync(ScratchSpace scratch, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(scratch);
        string path = scratch.PathOf(fileName ?? (byFio ? "bare-fio.img" : "bare.img"));
        await ScratchFile.CreateAsync(path, scratch.MemberBytes, cancellation).ConfigureAwait(false);
        return new RunningEndpoint(byFio ? new BlockEndpoint(path, scratch.SpanBytes) : new FileEndpoint(path, scratch.SpanBytes)) { Commands = [ScratchFile.Command(path, scratch.MemberBytes)] };
    }
}

/// <summary>A method without a process of its own.</summary>
/// <param name="endpoint">Where the load goes.</param>
internal sealed class RunningEndpoint(LoadEndpoint endpoint) : IRunningMethod
{
    public LoadEndpoint Endpoint => endpoint;

    public IReadOnlyList<int> ProcessIds => [];

    public IReadOnlyList<string> Commands { get; init; } = [];

    /// <summary>What ends it.</summary>
    public Func<ValueTask>? End { get; init; }

    public ValueTask DisposeAsync() => End is null ? ValueTask.CompletedTask : End();
}

/// <summary>Files for measurements.</summary>
internal static class ScratchFile
{
    private const int PieceBytes = 4 << 20;

    /// <summary>What it is made with, for the report.</summary>
    public static string Command(string path, long bytes) => ShellLine.NoCommand($"this program fills {path} with random bytes, as would: head -c {bytes} /dev/urandom > {path}");

    /// <summary>Makes a file and fills it: a hole would be read without touching any memory or disk.</summary>
    public static async Task CreateAsync(string path, long bytes, CancellationToken cancellation)
    {
        byte[] piece = new byte[PieceBytes];
        new Random(1).NextBytes(piece);
        await using var file = new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.Read, 0);
        for (long at = 0; at < bytes; at += PieceBytes)
        {
            await file.WriteAsync(piece.AsMemory(0, (int)Math.Min(PieceBytes, bytes - at)), cancellation).ConfigureAwait(false);
        }
    }
}
