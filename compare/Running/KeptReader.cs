using Polyblk.Compare.Clients.Nbd;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Compare.Load;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives;

namespace Polyblk.Compare.Running;

/// <summary>Reads what must not be written to through an endpoint of any kind.</summary>
public static class KeptReader
{
    private const int PieceBytes = 128 << 10;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    /// <summary>Compares what is read through the endpoint with the sample.</summary>
    /// <returns>Null when all of it is the same, or what is wrong.</returns>
    public static async Task<string?> CompareAsync(LoadEndpoint endpoint, KeptContent kept, CancellationToken cancellation)
    {
        switch (endpoint)
        {
            case VhostUserEndpoint socket:
                return await CompareAsync(socket, kept, cancellation).ConfigureAwait(false);
            case NbdEndpoint export:
                using (var client = new NbdClient(export.SocketPath, export.ExportName))
                {
                    return await kept.CompareAsync((offset, buffer) => Task.Run(() => Read(client, offset, buffer.Span), cancellation), cancellation).ConfigureAwait(false);
                }

            case DeviceEndpoint open:
                return await CompareAsync(open.Device, kept, cancellation).ConfigureAwait(false);
            case FileEndpoint or BlockEndpoint:
                string path = endpoint is FileEndpoint file ? file.Path : ((BlockEndpoint)endpoint).Path;
                await using (IBlockDevice drive = DriveFactory.Open(DriveSpec.Parse(path), readOnly: true))
                {
                    return await CompareAsync(drive, kept, cancellation).ConfigureAwait(false);
                }

            default:
                return $"{endpoint.GetType().Name} cannot be verified";
        }
    }

    /// <summary>A sample by the shortest way: over a device that is open in this process.</summary>
    public static async Task<KeptContent> TakeAsync(IBlockDevice device, long sizeBytes, string whyNoWrites, CancellationToken cancellation)
    {
        using Reactor reactor = NewReactor();
        return await KeptContent.TakeAsync(sizeBytes, whyNoWrites, (offset, buffer) => BlockIo.ReadAsync(device, reactor, offset, buffer), cancellation).ConfigureAwait(false);
    }

    private static async Task<string?> CompareAsync(IBlockDevice device, KeptContent kept, CancellationToken cancellation)
    {
        using Reactor reactor = NewReactor();
        return await kept.CompareAsync((offset, buffer) => BlockIo.ReadAsync(device, reactor, offset, buffer), cancellation).ConfigureAwait(false);
    }

    private static async Task<string?> CompareAsync(VhostUserEndpoint endpoint, KeptContent kept, CancellationToken cancellation)
    {
        using var client = new VhostUserClient(new VhostUserClientOptions
        {
            SocketPath = endpoint.SocketPath, Queues = endpoint.Queues, Depth = 1, BufferBytes = PieceBytes,
        });
        int turn = 0;
        string? problem = await kept.CompareAsync(
            (offset, buffer) => Task.Run(
                () =>
                {
                    // Every queue reads a part.
                    for (int at = 0; at < buffer.Length; at += PieceBytes)
                    {
                        Read(client.Queues[turn++ % client.Queues.Count], offset + at, buffer.Span.Slice(at, Math.Min(PieceBytes, buffer.Length - at)));
                    }
                },
                cancellation),
            cancellation).ConfigureAwait(false);
        client.Detach();
        return problem;
    }

    private static void Read(ClientQueue queue, long offset, Span<byte> into)
    {
        Span<ClientCompletion> completion = stackalloc ClientCompletion[1];
        queue.Submit(0, ClientOperation.Read, offset, into.Length);
        queue.Publish();
        DateTime deadline = DateTime.UtcNow + s_patience;
        while (queue.Poll(completion) == 0)
        {
            if (DateTime.UtcNow > deadline)
            {
                throw new IOException($"A read of {into.Length} bytes at {offset} was not answered in {s_patience.TotalSeconds} s.");
            }
        }

        if (completion[0].Status != 0)
        {
            throw new IOException($"A read of {into.Length} bytes at {offset} ended with status {completion[0].Status}.");
        }

        queue.Buffer(0)[..into.Length].CopyTo(into);
    }

    private static void Read(NbdClient client, long offset, Span<byte> into)
    {
        int error = client.Read(offset, into);
        if (error != 0)
        {
            throw new IOException($"A read of {into.Length} bytes at {offset} ended with error {error}.");
        }
    }

    private static Reactor NewReactor() => new(new ReactorOptions { Name = "verify", Idle = IdlePolicy.Frugal });
}
