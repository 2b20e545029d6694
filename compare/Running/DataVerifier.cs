// Proof that a target keeps data, before its speed is believed: the whole span is written with a pattern that names every word's
// place and the run, flushed, read back and compared. It also fills the target, so that no read is answered from a hole. What
// must keep its content is read only (KeptContent).

using Polyblk.Drives;
using System.Runtime.InteropServices;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Compare.Load;
using Polyblk.Compare.Load.Fio;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Compare.Running;

/// <summary>Writes, reads back and compares; or only reads and compares.</summary>
public static class DataVerifier
{
    private const int BlockBytes = 128 << 10;
    private const int Depth = 8;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan s_endPatience = TimeSpan.FromSeconds(10);

    /// <summary>Verifies the span of an endpoint.</summary>
    /// <returns>Null when every byte came back, or what is wrong.</returns>
    public static async Task<string?> VerifyAsync(LoadEndpoint endpoint, ulong seed, CancellationToken cancellation) => endpoint switch
    {
        { Kept: KeptContent kept } => await KeptReader.CompareAsync(endpoint, kept, cancellation).ConfigureAwait(false),
        VhostUserEndpoint socket => await Task.Run(() => VerifySocket(socket, seed, cancellation), cancellation).ConfigureAwait(false),
        FileEndpoint file => await VerifyPathAsync(file.Path, file.SizeBytes, seed, cancellation).ConfigureAwait(false),
        BlockEndpoint device => await VerifyBlockDeviceAsync(device, seed, cancellation).ConfigureAwait(false),
        DeviceEndpoint open => await VerifyDeviceAsync(open.Device, open.SizeBytes, seed, cancellation).ConfigureAwait(false),
        _ => $"{endpoint.GetType().Name} cannot be verified",
    };

    /// <summary>The pattern: every 8-byte word is a mix of its offset and the seed.</summary>
    internal static void Fill(Span<byte> block, long offsetBytes, ulong seed)
    {
        Span<ulong> words = MemoryMarshal.Cast<byte, ulong>(block);
        for (int i = 0; i < words.Length; i++)
        {
            words[i] = ((ulong)offsetBytes + (ulong)(i * 8) + seed) * 0x9E3779B97F4A7C15;
        }
    }

    /// <summary>The first byte of a block that is not the pattern's, or -1.</summary>
    internal static int FirstDifference(ReadOnlySpan<byte> block, long offsetBytes, ulong seed, byte[] expected)
    {
        Fill(expected.AsSpan(0, block.Length), offsetBytes, seed);
        int same = block.CommonPrefixLength(expected.AsSpan(0, block.Length));
        return same == block.Length ? -1 : same;
    }

    private static string? VerifySocket(VhostUserEndpoint endpoint, ulong seed, CancellationToken cancellation)
    {
        using var client = new VhostUserClient(new VhostUserClientOptions
        {
            SocketPath = endpoint.SocketPath, Queues = endpoint.Queues, Depth = Depth, BufferBytes = BlockBytes,
        });
        if (client.CapacityBytes < endpoint.SizeBytes)
        {
            return $"the device has {client.CapacityBytes} bytes, {endpoint.SizeBytes} were to be used";
        }

        byte[] expected = new byte[BlockBytes];
        string? problem = RunPass(client, ClientOperation.Write, endpoint.SizeBytes, seed, expected, cancellation);
        problem ??= RunFlush(client.Queues[0], cancellation);
        problem ??= RunPass(client, ClientOperation.Read, endpoint.SizeBytes, seed, expected, cancellation);
        client.Detach();
        return problem;
    }

    /// <summary>One pass over the span, the blocks dealt out to the queues in turn.</summary>
    private static string? RunPass(
        VhostUserClient client, ClientOperation operation, long sizeBytes, ulong seed, byte[] expected, CancellationToken cancellation)
    {
        DateTime deadline = DateTime.UtcNow + s_patience;
        var completions = new ClientCompletion[Depth];
        long[][] offsets = [.. client.Queues.Select(q => new long[q.Depth])];
        long next = 0;
        long blocks = sizeBytes / BlockBytes;
        long done = 0;
        while (done < blocks)
        {
            for (int q = 0; q < client.Queues.Count; q++)
            {
                ClientQueue queue = client.Queues[q];
                for (int slot = 0; slot < queue.Depth && next < blocks; slot++)
                {
                    if (!queue.IsBusy(slot))
                    {
                        offsets[q][slot] = next++ * BlockBytes;
                        Prepare(queue.Buffer(slot), operation, offsets[q][slot], seed);
                        queue.Submit(slot, operation, offsets[q][slot], BlockBytes);
                    }
                }

                queue.Publish();
                int count = queue.Poll(completions);
                for (int i = 0; i < count; i++)
                {
                    ClientCompletion completion = completions[i];
                    long offset = offsets[q][completion.Slot];
                    if (completion.Status != 0)
                    {
                        return $"{operation} of {BlockBytes} bytes at {offset} ended with status {completion.Status}";
                    }

                    int at = operation == ClientOperation.Read ? FirstDifference(queue.Buffer(completion.Slot), offset, seed, expected) : -1;
                    if (at >= 0)
                    {
                        return $"the byte at {offset + at} is not what was written (seed {seed})";
                    }

                    done++;
                }
            }

            cancellation.ThrowIfCancellationRequested();
            if (DateTime.UtcNow > deadline)
            {
                return $"{blocks - done} of {blocks} requests were not answered in {s_patience.TotalSeconds} s";
            }
        }

        return null;
    }

    private static void Prepare(Span<byte> buffer, ClientOperation operation, long offset, ulong seed)
    {
        if (operation == ClientOperation.Write)
        {
            Fill(buffer, offset, seed);
        }
        else
        {
            buffer.Fill(0xA5);
        }
    }

    private static string? RunFlush(ClientQueue queue, CancellationToken cancellation)
    {
        var completion = new ClientCompletion[1];
        queue.Submit(0, ClientOperation.Flush, 0, 0);
        queue.Publish();
        DateTime deadline = DateTime.UtcNow + s_patience;
        while (queue.Poll(completion) == 0)
        {
            cancellation.ThrowIfCancellationRequested();
            if (DateTime.UtcNow > deadline)
            {
                return "a flush was not answered";
            }
        }

        return completion[0].Status == 0 ? null : $"a flush ended with status {completion[0].Status}";
    }

    /// <summary>
    /// A block device without its server answers nothing; its requests cannot be taken back, and are left behind then.
    /// </summary>
    private static async Task<string?> VerifyBlockDeviceAsync(BlockEndpoint device, ulong seed, CancellationToken cancellation)
    {
        TimeSpan limit = FioLimit.Of(2 * device.SizeBytes);
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        Task<string?> verification = VerifyPathAsync(device.Path, device.SizeBytes, seed, ending.Token);
        if (await Task.WhenAny(verification, Task.Delay(limit, cancellation)).ConfigureAwait(false) == verification)
        {
            return await verification.ConfigureAwait(false);
        }

        await ending.CancelAsync().ConfigureAwait(false);
        await Task.WhenAny(verification, Task.Delay(s_endPatience, CancellationToken.None)).ConfigureAwait(false);
        cancellation.ThrowIfCancellationRequested();
        return $"its requests were not answered in {limit.TotalSeconds:0} s";
    }

    private static async Task<string?> VerifyPathAsync(string path, long sizeBytes, ulong seed, CancellationToken cancellation)
    {
        await using IBlockDevice drive = DriveFactory.Open(DriveSpec.Parse(path));
        return drive.SizeBytes < sizeBytes
            ? $"the device has {drive.SizeBytes} bytes, {sizeBytes} were to be used"
            : await VerifyDeviceAsync(drive, sizeBytes, seed, cancellation).ConfigureAwait(false);
    }

    private static async Task<string?> VerifyDeviceAsync(IBlockDevice device, long sizeBytes, ulong seed, CancellationToken cancellation)
    {
        using var reactor = new Reactor(new ReactorOptions { Name = "verify", Idle = IdlePolicy.Frugal });
        byte[] block = new byte[1 << 20];
        byte[] expected = new byte[block.Length];
        for (long at = 0; at + block.Length <= sizeBytes; at += block.Length)
        {
            cancellation.ThrowIfCancellationRequested();
            Fill(block, at, seed);
            await BlockIo.WriteAsync(device, reactor, at, block).ConfigureAwait(false);
        }

        await BlockIo.FlushAsync(device, reactor).ConfigureAwait(false);
        for (long at = 0; at + block.Length <= sizeBytes; at += block.Length)
        {
            cancellation.ThrowIfCancellationRequested();
            await BlockIo.ReadAsync(device, reactor, at, block).ConfigureAwait(false);
            int difference = FirstDifference(block, at, seed, expected);
            if (difference >= 0)
            {
                return $"the byte at {at + difference} is not what was written (seed {seed})";
            }
        }

        return null;
    }
}
