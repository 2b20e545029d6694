using Polyblk.Compare.Load;

namespace Polyblk.Compare.Methods;

/// <summary>The baseline: one file like the members, driven directly.</summary>
public sealed class BareFile : IDeliveryMethod
{
    public string Name => "bare drive";

    public string Description => "one member-sized file, driven directly by this program's I/O core: no frontend, no array";

    public MethodAvailability Check() => MethodAvailability.Yes;

    public async Task<IRunningMethod> StartAsync(ScratchSpace scratch, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(scratch);
        string path = scratch.PathOf("bare.img");
        await ScratchFile.CreateAsync(path, scratch.MemberBytes, cancellation).ConfigureAwait(false);
        return new Running(new FileEndpoint(path, scratch.SpanBytes));
    }

    private sealed class Running(FileEndpoint endpoint) : IRunningMethod
    {
        public LoadEndpoint Endpoint => endpoint;

        public IReadOnlyList<int> ProcessIds => [];

        public IReadOnlyList<string> Commands => [];

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}

/// <summary>Files for measurements.</summary>
internal static class ScratchFile
{
    private const int PieceBytes = 4 << 20;

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
