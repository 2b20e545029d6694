// Puts right what an unclean stop left of rows that were being written: their parities are made again from the records of the
// journal and from the blocks as they are found. Before the array starts, so that nothing is made from a parity that does not
// fit.
//
// Which records count: those of the newest generation, that are not older than all unfinished ones of their writer, and that are
// on every member that holds a parity of the row and is here. One that is not on all of them was cut off: nothing of its row was
// written. One whose blocks have long been written says what they say, and changes nothing.
//
// What is made of a row, in each column:
//   1  a lost block that was not being written: from the partial parities alone, and the others that were not written;
//   2  a lost block that was: from the parities as they are found. It is the old or the new one where no other was written in the
//      column; else it may be neither, as with any write that was cut off in a row that lacks a member;
//   3  the parities, of all that.
// Doing it twice gives the same, so a replay that is cut off is done again.

using System.Collections.Immutable;
using System.Numerics;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Journal;

/// <summary>What a replay came to.</summary>
/// <param name="Rows">Rows that were looked at.</param>
/// <param name="Mended">Those whose parities did not fit.</param>
/// <param name="Doubtful">Rows that could not be put right: too much of them cannot be read.</param>
/// <param name="Unreadable">Slots of the journal that could not be read: what they held is not known.</param>
/// <param name="Refused">Rows of which a member refused a parity, and that have enough without: it is bad there.</param>
internal sealed record JournalReplayResult(
    int Rows, int Mended, ImmutableArray<JournalRecord> Doubtful, int Unreadable, ImmutableArray<RefusedParity> Refused)
{
    /// <summary>That of nothing.</summary>
    public static JournalReplayResult None { get; } = new(0, 0, [], 0, []);
}

/// <summary>A parity that was made, and that its member could not write.</summary>
/// <param name="Record">The record of its row.</param>
/// <param name="Role">The member.</param>
internal readonly record struct RefusedParity(JournalRecord Record, int Role);

/// <summary>
/// Rows of an array and where their records lie: all of them, or those of one geometry of an array that is being reshaped.
/// </summary>
/// <param name="Geometry">Where their blocks lie.</param>
/// <param name="Layout">Where their records do; null where there is no room for any.</param>
/// <param name="FirstRow">The first of them.</param>
/// <param name="EndRow">The row behind the last.</param>
internal sealed record JournalPart(RaidGeometry Geometry, JournalLayout? Layout, long FirstRow, long EndRow)
{
    /// <summary>All rows of an array that has one geometry.</summary>
    public static JournalPart AllOf(RaidGeometry geometry) =>
        new(geometry, JournalLayout.Of(geometry), 0, RaidUnits.Count(geometry));
}

/// <summary>See the top of the file.</summary>
internal sealed class JournalReplay : IDisposable
{
    private readonly ArraySuperblock _newest;
    private readonly RaidGeometry _geometry;
    private readonly JournalLayout _layout;
    private readonly IBlockDevice?[] _drives;
    private readonly Reactor _home;
    private readonly IBlockQueue?[] _queues;
    private readonly JournalScan?[] _scans;
    private readonly ulong _missing;
    private readonly ulong _rebuilding;
    private readonly long _rebuiltUnits;
    private readonly int _rowBytes;
    private readonly RowImage _image;
    private readonly JournalPart _part;
    private readonly List<RefusedParity> _refused = [];
    private ulong _written;
    private volatile bool _isGivenUp;

    private JournalReplay(
        ArraySuperblock newest, JournalPart part, JournalLayout layout, IReadOnlyList<IBlockDevice?> drives, ulong rebuilding, Reactor home)
    {
        RaidGeometry geometry = part.Geometry;
        _newest = newest;
        _geometry = geometry;
        _part = part;
        _layout = layout;
        _drives = [.. drives];
        _home = home;
        _queues = new IBlockQueue?[drives.Count];
        _scans = new JournalScan?[drives.Count];
        _rebuilding = rebuilding;
        _rebuiltUnits = rebuilding == 0 ? long.MaxValue : RaidUnits.FromSyncedBytes(geometry, newest.RebuildCheckpoint);
        _rowBytes = RaidUnits.RowBytes(geometry);
        _image = new RowImage(geometry, _rowBytes);
        for (int role = 0; role < drives.Count; role++)
        {
            _missing |= drives[role] is null ? 1UL << role : 0;
        }
    }

    /// <summary>Whether an array may have something to put right.</summary>
    public static bool IsNeeded(ArraySuperblock newest) =>
        newest.Consistency == ArrayConsistency.Journal && (newest.State & ArrayStateFlags.Dirty) != 0 && newest.JournalGeneration != 0;

    /// <summary>Replays what the members hold, and flushes them.</summary>
    /// <param name="newest">The superblock that speaks for the array; <see cref="IsNeeded"/>.</param>
    /// <param name="part">Which rows, and where their records are.</param>
    /// <param name="drives">The drives by role; null where the member is lost.</param>
    /// <param name="rebuilding">Those that are being rebuilt, one bit each.</param>
    /// <param name="home">Carries the I/O.</param>
    /// <param name="clock">By which a drive that does not answer is given up.</param>
    /// <exception cref="ArrayException">A drive could not be written, or does not answer.</exception>
    public static async Task<JournalReplayResult> RunAsync(
        ArraySuperblock newest, JournalPart part, IReadOnlyList<IBlockDevice?> drives, ulong rebuilding, Reactor home, TimeProvider clock)
    {
        if (part.Layout is not { } layout)
        {
            return JournalReplayResult.None;
        }

        var replay = new JournalReplay(newest, part, layout, drives, rebuilding, home);
        try
        {
            return await replay.RunAsync().WaitAsync(ArrayBuilder.Patience, clock);
        }
        catch (TimeoutException e)
        {
            // What it still reads must not be written to drives with which the array may have been started meanwhile.
            replay._isGivenUp = true;
            throw new ArrayException(
                $"The journal of array '{newest.Name}' could not be replayed: a drive has not answered for {ArrayBuilder.Patience.TotalSeconds} s. "
                + "Check the drives, or leave the one out that hangs and start without it.",
                e);
        }
        catch (BlockIoException e)
        {
            throw new ArrayException(
                $"The journal of array '{newest.Name}' could not be replayed: {e.Message} Leave that drive out to start without it.", e);
        }
    }

    /// <summary>Gives its memory back. A replay does it itself when it ends, also when nobody waits for it any more.</summary>
    public void Dispose() => _image.Dispose();

    private async Task<JournalReplayResult> RunAsync()
    {
        try
        {
            await Task.WhenAll(Enumerable.Range(0, _drives.Length).Where(role => _drives[role] is not null).Select(ScanAsync));
            JournalRecord[] records = [.. FindUnfinished()];
            var doubtful = ImmutableArray.CreateBuilder<JournalRecord>();
            int mended = 0;
            foreach (JournalRecord record in records)
            {
                switch (await ReplayAsync(record))
                {
                    case RowOutcome.Mended:
                        mended++;
                        break;
                    case RowOutcome.Doubtful:
                        doubtful.Add(record);
                        break;
                    default:
                        break;
                }
            }

            for (ulong left = _written; left != 0; left &= left - 1)
            {
                int role = BitOperations.TrailingZeroCount(left);
                await BlockIo.FlushAsync(_drives[role]!, _queues[role]!, _home);
            }

            return new JournalReplayResult(records.Length, mended, doubtful.ToImmutable(), _scans.Sum(s => s?.Unreadable ?? 0), [.. _refused]);
        }
        finally
        {
            Dispose();
            await _home.InvokeAsync(() => Array.ForEach(_queues, queue => queue?.Dispose()));
        }
    }

    private async Task ScanAsync(int role)
    {
        IBlockQueue queue = await _home.InvokeAsync(() => _drives[role]!.OpenQueue(_home));
        _queues[role] = queue;
        _scans[role] = await JournalScan.RunAsync(
            queue,
            _home,
            _layout,
            _geometry.ParityCount,
            header => JournalRecord.TryRead(
                header, _newest.ArrayUuid, _newest.JournalGeneration, _rowBytes, _geometry.DataCount, _geometry.ParityCount));
    }

    /// <summary>The records that count, one of each row.</summary>
    private IEnumerable<JournalRecord> FindUnfinished()
    {
        JournalRecord[] all =
            [.. _scans.OfType<JournalScan>().SelectMany(scan => scan.Records.Cast<JournalRecord?>()).OfType<JournalRecord>()];
        Dictionary<uint, ulong> oldest = all.GroupBy(r => r.Writer).ToDictionary(g => g.Key, g => g.Max(r => r.Oldest));
        return all
            .Where(r => !r.IsVoid && r.Transaction >= oldest[r.Writer] && r.Row >= _part.FirstRow && r.Row < _part.EndRow && IsWhole(r))
            .DistinctBy(r => (r.Writer, r.Transaction, r.Row))
            .OrderBy(r => (r.Row, r.Transaction));
    }

    /// <summary>Whether it is on every member that holds a parity of the row, was to have it, and is here.</summary>
    private bool IsWhole(JournalRecord record)
    {
        for (int parity = 0; parity < _geometry.ParityCount; parity++)
        {
            int role = _geometry.ParityMember(StripeOf(record.Row), parity);
            if (((record.Parities >> parity) & 1) == 0 || ((LostAt(record.Row) >> role) & 1) != 0)
            {
                continue;
            }

            if (_scans[role]!.Records[parity, _layout.SlotOf(record.Row)] is not { } its || !its.IsOfSame(record) || its.Parity != parity)
            {
                return false;
            }
        }

        return true;
    }

    private async Task<RowOutcome> ReplayAsync(JournalRecord record)
    {
        ulong absent = BlocksLostIn(record.Row), lost = absent;
        (uint partials, bool isWhole) = await ReadPartialParitiesAsync(record, lost);
        if (!isWhole)
        {
            return RowOutcome.Untouched;
        }

        lost |= await ReadBlocksAsync(record, lost);
        if (!_image.TryMend(record, lost, partials))
        {
            return RowOutcome.Doubtful;
        }

        bool differs = false;
        ulong refused = 0;
        for (int parity = 0; parity < _geometry.ParityCount; parity++)
        {
            int block = _geometry.DataCount + parity;
            bool isHere = ((absent >> block) & 1) == 0;
            if (isHere && (((lost >> block) & 1) != 0 || !_image.IsRight(parity, record.From, record.To)))
            {
                differs = true;
                refused |= await TryWriteAsync(record, block, _image.Made(parity, record.From, record.To));
            }
        }

        if (refused != 0 && !_geometry.SurvivesWithout(LostAt(record.Row) | refused))
        {
            return RowOutcome.Doubtful;
        }

        for (ulong left = refused; left != 0; left &= left - 1)
        {
            _refused.Add(new RefusedParity(record, BitOperations.TrailingZeroCount(left)));
        }

        return differs ? RowOutcome.Mended : RowOutcome.Untouched;
    }

    /// <summary>
    /// Reads the partial parities of a transaction. Returns which there are, one bit each, and false when one is torn: the
    /// transaction was cut off.
    /// </summary>
    private async Task<(uint Partials, bool IsWhole)> ReadPartialParitiesAsync(JournalRecord record, ulong lost)
    {
        uint partials = 0;
        for (int parity = 0; parity < _geometry.ParityCount; parity++)
        {
            if (((record.Parities >> parity) & 1) == 0 || ((lost >> (_geometry.DataCount + parity)) & 1) != 0)
            {
                continue;
            }

            int role = _geometry.ParityMember(StripeOf(record.Row), parity);
            int slot = _layout.SlotOf(record.Row);
            Memory<byte> partial = _image.Partial(parity, record.From, record.To);
            try
            {
                await BlockIo.ReadAsync(
                    _drives[role]!, _queues[role]!, _home, _layout.OffsetOf(parity, slot) + JournalLayout.HeaderBytes, partial);
            }
            catch (BlockIoException)
            {
                // As if it had never been there; whether the others are enough is seen then.
                continue;
            }

            if (Crc32C.ComputeInterleaved(partial.Span) != _scans[role]!.Records[parity, slot]!.ParityCrc)
            {
                return (0, false);
            }

            partials |= 1u << parity;
        }

        return (partials, true);
    }

    /// <summary>Reads the blocks of a row that are not lost. Returns those that could not be read.</summary>
    private async Task<ulong> ReadBlocksAsync(JournalRecord record, ulong lost)
    {
        ulong[] unreadable = await Task.WhenAll(
            Enumerable.Range(0, _geometry.GroupSize).Where(block => ((lost >> block) & 1) == 0).Select(ReadAsync));
        return unreadable.Aggregate(0UL, (all, one) => all | one);

        async Task<ulong> ReadAsync(int block)
        {
            int role = _geometry.BlockMember(StripeOf(record.Row), block);
            try
            {
                await BlockIo.ReadAsync(
                    _drives[role]!, _queues[role]!, _home, OffsetOf(record), _image.Block(block, record.From, record.To));
                return 0;
            }
            catch (BlockIoException)
            {
                // It counts as lost in this row.
                return 1UL << block;
            }
        }
    }

    private async Task WriteAsync(JournalRecord record, int block, Memory<byte> data)
    {
        if (_isGivenUp)
        {
            throw new BlockIoException("the replay was given up", Errno.ESHUTDOWN);
        }

        int role = _geometry.BlockMember(StripeOf(record.Row), block);
        await BlockIo.WriteAsync(_drives[role]!, _queues[role]!, _home, OffsetOf(record), data);
        _written |= 1UL << role;
    }

    /// <summary>Returns the member's bit when it could not write the place, which it then lacks; 0 when it did.</summary>
    private async Task<ulong> TryWriteAsync(JournalRecord record, int block, Memory<byte> data)
    {
        try
        {
            await WriteAsync(record, block, data);
            return 0;
        }
        catch (BlockIoException e) when (BlockErrors.MayBeOfPlace(-e.Errno) && _newest.Reshape is null)
        {
            return 1UL << _geometry.BlockMember(StripeOf(record.Row), block);
        }
    }

    private long StripeOf(long row) => row / (_geometry.ChunkSize / _rowBytes);

    private long OffsetOf(JournalRecord record) =>
        _geometry.StripeOffset(StripeOf(record.Row)) + (record.Row % (_geometry.ChunkSize / _rowBytes) * _rowBytes) + record.From;

    /// <summary>Members that are lost in a row, which is one of their group.</summary>
    private ulong LostAt(long row)
    {
        int group = (int)(StripeOf(row) % _geometry.GroupCount);
        ulong bad = _newest.BadRanges.In(RaidUnits.OfGroup(_geometry, group, row, row).Row, 1);
        return ((row >= _rebuiltUnits ? _missing | _rebuilding : _missing) | bad) & _geometry.MembersOf(group);
    }

    private ulong BlocksLostIn(long row) => _geometry.BlocksOf(StripeOf(row), LostAt(row));

    private enum RowOutcome
    {
        Untouched,
        Mended,
        Doubtful,
    }
}
