using Polyblk.Core.Metering;

namespace Polyblk.Raid;

/// <summary>What an array has asked of the drive of a member since its start, and was answered.</summary>
/// <param name="Latencies">How long requests took, those that failed as well.</param>
/// <param name="ReadBytes">Bytes read.</param>
/// <param name="WrittenBytes">Bytes written.</param>
public sealed record MemberTraffic(LatencyTable Latencies, long ReadBytes, long WrittenBytes)
{
    /// <summary>Nothing yet.</summary>
    public static MemberTraffic None { get; } = new(LatencyTable.Empty, 0, 0);

    /// <summary>The sum of two ways to it.</summary>
    public MemberTraffic Plus(MemberTraffic other)
    {
        ArgumentNullException.ThrowIfNull(other);
        return new MemberTraffic(
            Latencies.Plus(other.Latencies), ReadBytes + other.ReadBytes, WrittenBytes + other.WrittenBytes);
    }
}
