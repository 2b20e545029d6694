using System.Runtime.CompilerServices;
using Polyblk.Core.Block;

namespace Polyblk.Core.Metering;

/// <summary>
/// A histogram for each kind of requests: reads, writes, flushes, and discards with write-zeroes. As <see
/// cref="LatencyHistogram"/>, one thread adds and any thread reads.
/// </summary>
public sealed class OperationLatencies
{
    /// <summary>Bits that tell kinds apart.</summary>
    internal const int KindBits = 2;

    private readonly LatencyHistogram[] _kinds = [new(), new(), new(), new()];

    /// <summary>The histogram of an operation.</summary>
    public LatencyHistogram this[BlockOperation operation]
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => _kinds[KindOf(operation)];
    }

    /// <summary>What was counted so far. Any thread.</summary>
    public LatencyTable Read() => new(_kinds[0].Read(), _kinds[1].Read(), _kinds[2].Read(), _kinds[3].Read());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int KindOf(BlockOperation operation) => Math.Min((int)operation, (int)BlockOperation.Discard);

    internal LatencyHistogram OfKind(int kind) => _kinds[kind];
}
