using System.Numerics;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Engine;

/// <summary>
/// The units of the locks and of the resync: 4 KiB of the volume for mirrors, a row for parity. A row is as many bytes at the
/// same offset of every member as fit both a chunk and 64 KiB, so that the buffers of a stripe stay small whatever the chunk.
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
        geometry.HasParity ? geometry.MemberDataSize / RowBytes(geometry) : geometry.Capacity >> MirrorShift;

    /// <summary>
    /// Log2 of the units in a row, which of a mirror is a range of as many bytes of the volume: the grid of what is bad
    /// (<see cref="Superblock.BadRanges"/>).
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
            _ => syncedBytes / RowBytes(geometry),
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
            _ => units * RowBytes(geometry),
        };
    }
}
