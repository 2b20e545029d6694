using System.Numerics;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Engine;

/// <summary>
/// The units of the locks and of the resync: 4 KiB of the volume for mirrors, a row for parity. A row is as many bytes at the
/// same offset of every member as fit both a chunk and 64 KiB, so that the buffers of a stripe stay small whatever the chunk.
/// Where members are in groups, a row is one of a group, and they are numbered as the stripes are: over all groups.
/// </summary>
internal static class RaidUnits
{
    /// <summary>Log2 of a mirror's unit in bytes of the volume.</summary>
    public const int MirrorShift = 12;

    /// <summary>The most bytes of a row on one member.</summary>
    public const int MaxRowBytes = 64 << 10;

    /// <summary>Bytes of a row on one member.</summary>
    public static int RowBytes(RaidGeometry geometry) => Math.Min(geometry.ChunkSize, MaxRowBytes);

    /// <summary>All units of an array.</summary>
    public static long Count(RaidGeometry geometry) =>
        geometry.HasParity ? geometry.MemberDataSize / RowBytes(geometry) * geometry.GroupCount
            : geometry.Capacity >> MirrorShift;

    /// <summary>The unit of a parity array to which a place of a member belongs.</summary>
    /// <param name="geometry">The geometry.</param>
    /// <param name="member">The member.</param>
    /// <param name="memberOffset">In bytes of the drive, within the data.</param>
    public static long At(RaidGeometry geometry, int member, long memberOffset)
    {
        long inData = memberOffset - geometry.DataOffset;
        int rowBytes = RowBytes(geometry);
        long first = geometry.StripeAt(member, memberOffset) * (geometry.ChunkSize / rowBytes);
        return first + (inData % geometry.ChunkSize / rowBytes);
    }

    /// <summary>The unit of a parity array that is a row of a member, counted on the member.</summary>
    public static long OfMemberRow(RaidGeometry geometry, int member, long row) =>
        At(geometry, member, geometry.DataOffset + (row * RowBytes(geometry)));

    /// <summary>Which of the rows of a group's members are some units of an array with groups.</summary>
    /// <param name="geometry">The geometry.</param>
    /// <param name="group">The group.</param>
    /// <param name="first">The first unit.</param>
    /// <param name="last">The last unit.</param>
    /// <returns>The first row, counted on the members, and how many; 0 where the group has none of them.</returns>
    public static (long Row, long Rows) OfGroup(RaidGeometry geometry, int group, long first, long last)
    {
        int inChunk = geometry.ChunkSize / RowBytes(geometry), groups = geometry.GroupCount;
        (long firstStripe, long firstRow) = Math.DivRem(first, inChunk);
        (long lastStripe, long lastRow) = Math.DivRem(last, inChunk);
        long from = firstStripe + ((group - (firstStripe % groups) + groups) % groups);
        long to = lastStripe - (((lastStripe % groups) - group + groups) % groups);
        if (from > to)
        {
            return (0, 0);
        }

        long row = (from / groups * inChunk) + (from == firstStripe ? firstRow : 0);
        long end = (to / groups * inChunk) + (to == lastStripe ? lastRow + 1 : inChunk);
        return (row, end - row);
    }

    /// <summary>
    /// Log2 of the units in a row, which of a mirror is a range of as many bytes of the volume: the grid of what is bad
    /// (<see cref="Superblock.BadRanges"/>). With groups, what is bad is counted in rows of the member (<see cref="OfGroup"/>).
    /// </summary>
    public static int RowShift(RaidGeometry geometry) =>
        geometry.HasParity ? 0 : BitOperations.Log2((uint)RowBytes(geometry)) - MirrorShift;

    /// <summary>The first byte of the volume that belongs to what a unit locks: of a parity array, to its whole stripe.</summary>
    public static long VolumeOffset(RaidGeometry geometry, long unit) =>
        geometry.HasParity ? unit / (geometry.ChunkSize / RowBytes(geometry)) * geometry.StripeDataSize : unit << MirrorShift;

    /// <summary>The first unit to which a byte of the volume belongs.</summary>
    public static long FromVolumeOffset(RaidGeometry geometry, long offset) =>
        geometry.HasParity ? offset / geometry.StripeDataSize * (geometry.ChunkSize / RowBytes(geometry)) : offset >> MirrorShift;

    /// <summary>The units that are in sync when that many bytes of every member are; <see cref="long.MaxValue"/> stays.</summary>
    public static long FromSyncedBytes(RaidGeometry geometry, long syncedBytes)
    {
        if (syncedBytes == long.MaxValue)
        {
            return long.MaxValue;
        }

        return geometry.Level switch
        {
            RaidLevel.Raid1 => syncedBytes >> MirrorShift,

            // Chunks that lie wholly in the rows before.
            RaidLevel.Raid10 => syncedBytes / geometry.ChunkSize * geometry.MemberCount / RaidGeometry.NearCopies * (geometry.ChunkSize >> MirrorShift),
            _ when geometry.GroupCount == 1 => syncedBytes / RowBytes(geometry),

            // Chunks that lie wholly in them, of all groups.
            _ => syncedBytes / geometry.ChunkSize * geometry.GroupCount * (geometry.ChunkSize / RowBytes(geometry)),
        };
    }

    /// <summary>The bytes of every member that are in sync when that many units are.</summary>
    public static long ToSyncedBytes(RaidGeometry geometry, long units)
    {
        units = Math.Min(units, Count(geometry));
        return geometry.Level switch
        {
            RaidLevel.Raid1 => units << MirrorShift,
            RaidLevel.Raid10 => (units << MirrorShift) / geometry.ChunkSize * RaidGeometry.NearCopies / geometry.MemberCount * geometry.ChunkSize,
            _ when geometry.GroupCount == 1 => units * RowBytes(geometry),
            _ => units / (geometry.ChunkSize / RowBytes(geometry)) / geometry.GroupCount * geometry.ChunkSize,
        };
    }
}
