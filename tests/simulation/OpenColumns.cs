using Polyblk.Raid.Layout;

namespace Polyblk.Simulation.Tests;

/// <summary>
/// What a parity array with a journal does not answer for. The parity of what was not being written is recorded, so a lost block
/// that was not is as it was, and one that alone was being written in its column is the old or the new one. Where several were,
/// the lost one among them may be neither.
/// </summary>
internal static class OpenColumns
{
    /// <summary>Open blocks of lost members in columns where at least so many data blocks are open.</summary>
    /// <param name="geometry">The array's.</param>
    /// <param name="open">Blocks that were being written.</param>
    /// <param name="atLeast">How many of a column.</param>
    /// <param name="lost">The members, one bit each.</param>
    public static IEnumerable<long> Find(RaidGeometry geometry, IEnumerable<long> open, int atLeast, ulong lost)
    {
        long chunk = geometry.ChunkSize / VolumeModel.BlockBytes;
        return open
            .GroupBy(block => (Stripe: block / chunk / geometry.DataCount, Column: block % chunk))
            .Where(column => column.Count() >= atLeast)
            .SelectMany(column => column.Where(block =>
                ((lost >> geometry.DataMember(column.Key.Stripe, (int)(block / chunk % geometry.DataCount))) & 1) != 0));
    }
}
