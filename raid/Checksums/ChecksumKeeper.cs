// The keeper of a member's checksums: brings pages of sums in, opens regions for writers, writes pages back and calls regions
// clean. One task a member; it does one thing at a time, reactors only hand operations to it (Ask).
//
// What it promises, in the order that makes it true:
//   a block is written     only after a header is durable that calls its region dirty (OpenRegionsAsync);
//   a header is written    to the slot that has not the last durable one: a torn one costs nothing (WriteHeaderAsync);
//   a region is            called clean only after writers were shut out, its pages were written, and then the drive was flushed
//                          (CleanAsync): that flush covers the blocks, too, which were there before.
// So what a clean region's pages say is what its blocks are. Of a region that is dirty after a crash nothing is known: its pages
// count for nothing, and its blocks are read and summed anew, in the background (ChecksumLearner.cs); what was being written, or
// was lost, is the array's to mend. Until a block is summed, it is not verified.
//
// What goes wrong with the sums costs protection, and that is told; it costs no data:
//   a page cannot be read, or is none       it is tried again; then its blocks are read and summed anew
//   a page cannot be written                its region stays dirty; where its place in memory is needed, its blocks have no sum
//   the header cannot be written            that is an error of the write that needed it
//   a header cannot be read                 every region is dirty, and the drive does not say so: what cannot be read now may be
//                                           read at the next start. So one is written before any region is opened, with a number
//                                           above whatever may be there (WriteHeaderAsync)
//   a flush fails                           the kernel tells that once, and here the array would not hear it: each queue answers
//                                           its next flush with the error. Regions that were dirty stay so until the next start.

using Polyblk.Core.Block;
using Polyblk.Core.Control;
using Polyblk.Core.Reactors;

namespace Polyblk.Raid.Checksums;

/// <summary>See the top of the file.</summary>
internal sealed class ChecksumKeeper
{
    /// <summary>Pages that are read or written at once.</summary>
    private const int Depth = 32;
    private const int LoadsAtOnce = 64;
    private const int MaxTries = 8;

    /// <summary>
    /// Looks for which nobody writes in a region before it is called clean: <see cref="ArrayRunOptions.CleanAfter"/> in all.
    /// </summary>
    private const int RestLooks = 2;
    private static readonly TimeSpan s_readAgain = TimeSpan.FromMilliseconds(50);

    private readonly ChecksummedDrive _owner;
    private readonly IBlockDevice _drive;
    private readonly ChecksumLayout _layout;
    private readonly Guid _member;
    private readonly Reactor _home;
    private readonly ArrayRunOptions _options;
    private readonly bool _readOnly;
    private readonly ControlSignal _signal;
    private readonly ChecksumLearner _learner;
    private readonly List<ChecksumOp> _waiting = [];
    private readonly ulong[] _doubt = new ulong[ChecksumLayout.MaxRegions / 64];
    private ChecksumOp? _asked;
    private ChecksumHeader _header = ChecksumHeader.Empty;
    private IBlockQueue? _queue;
    private Task _loop = Task.CompletedTask;
    private Task<bool>? _closed;
    private int _failedFlushes, _seenFailedFlushes;
    private bool _hasFlushed;

    // Whether regions are dirty of which no header on the drive says so.
    private bool _isUnrecorded;
    private bool _broken, _stopping, _ended;
    private readonly TimeSpan _look;
    private long _lookedMs;

    public ChecksumKeeper(
        ChecksummedDrive owner,
        IBlockDevice drive,
        ChecksumLayout layout,
        Guid member,
        Reactor home,
        ArrayRunOptions options,
        bool readOnly)
    {
        _owner = owner;
        _drive = drive;
        _layout = layout;
        _member = member;
        _home = home;
        _options = options;
        _readOnly = readOnly;
        _look = options.CleanAfter / RestLooks;
        _signal = new ControlSignal(options.Scheduler, options.Clock);
        _learner = new ChecksumLearner(this, owner, layout, home, options);
        Regions = new ChecksumRegions(layout.Regions);
        Pages = new ChecksumPages(layout.Pages, options.ChecksumPages, _signal.Set);
    }

    /// <summary>The pages.</summary>
    public ChecksumPages Pages { get; }

    /// <summary>The regions.</summary>
    public ChecksumRegions Regions { get; }

    /// <summary>How many flushes of the keeper have failed: each queue tells of them. Any thread.</summary>
    public int LostFlushes { get; private set; }

    /// <summary>Pages of sums that could not be used, since the start. Any thread.</summary>
    public long LostPages { get; private set; }

    /// <summary>Pages whose blocks are still to be read and summed. Any thread.</summary>
    public int UnlearnedPages => Enumerable.Range(0, _layout.Pages).Count(Pages.IsUnlearned);

    private long NowMs => (long)_options.Clock.GetElapsedTime(0).TotalMilliseconds;

    /// <summary>Begins on a member that has no sums. Both slots say so, durably, when this returns.</summary>
    /// <exception cref="IOException">The drive cannot be written.</exception>
    public async Task FormatAsync()
    {
        await OpenQueueAsync();
        for (int slot = 0; slot < 2; slot++)
        {
            if (await WriteHeaderAsync(ChecksumHeader.Empty) is int status and < 0)
            {
                await CloseAsync(clean: false);
                throw new BlockIoException(
                    $"The checksums of {_drive.Name} cannot be written: {BlockIo.DescribeErrno(-status)}.", -status);
            }
        }

        Begin(_ => false);
    }

    /// <summary>Begins on a member that has sums.</summary>
    /// <exception cref="IOException">The drive cannot be opened.</exception>
    public async Task OpenAsync()
    {
        await OpenQueueAsync();
        (int status0, byte[] slot0) = await ReadPatientlyAsync(_layout.HeaderOffset(0));
        (int status1, byte[] slot1) = await ReadPatientlyAsync(_layout.HeaderOffset(1));
        ChecksumHeader? a = status0 == 0 ? ChecksumHeader.Parse(slot0, _layout, _member) : null;
        ChecksumHeader? b = status1 == 0 ? ChecksumHeader.Parse(slot1, _layout, _member) : null;
        ChecksumHeader? newest = b is not null && (a is null || b.Sequence > a.Sequence) ? b : a;
        _header = newest ?? ChecksumHeader.Empty;

        // One that cannot be read may be the newer one, and know of regions that are dirty.
        bool isLost = newest is null || status0 != 0 || status1 != 0;
        if (isLost)
        {
            LostPages += _layout.Pages;
            _owner.Tell(
                "the header of its checksums cannot be used: all its blocks are not verified until they were summed anew");
            for (int region = 0; region < _layout.Regions; region++)
            {
                _header.Used[region >> 6] |= 1UL << region;
                _header.Dirty[region >> 6] |= 1UL << region;
            }

            // Above what may be in the slot that was not read, and in its place: the other one is sound.
            ulong next = Math.Max(_header.Sequence + 1, (ulong)_options.Clock.GetUtcNow().ToUnixTimeMilliseconds() << 16);
            ulong slot = status0 != 0 ? 0UL : 1;
            _header = _header with { Sequence = (next & 1) == slot ? next - 1 : next };
            _isUnrecorded = !_readOnly;
        }

        Begin(region => ChecksumHeader.Has(_header.Dirty, region));
    }

    /// <summary>
    /// An operation lacks pages or regions: it is granted them, later, on its reactor. Any thread; allocates nothing.
    /// </summary>
    public void Ask(ChecksumOp operation)
    {
        ChecksumOp? top = Volatile.Read(ref _asked);
        while (true)
        {
            operation.NextAsked = top;
            ChecksumOp? found = Interlocked.CompareExchange(ref _asked, operation, top);
            if (ReferenceEquals(found, top))
            {
                break;
            }

            top = found;
        }

        _signal.Set();
    }

    /// <summary>
    /// A flush of a consumer's has failed: what was written since the last good one may be lost anywhere, and what pages say of
    /// it with it. Any thread.
    /// </summary>
    public void NoteFailedFlush()
    {
        Interlocked.Increment(ref _failedFlushes);
        _signal.Set();
    }

    /// <summary>
    /// Ends it. No queue has a request that the drive does not owe. Does not return while the drive owes the keeper an answer.
    /// </summary>
    /// <param name="clean">Whether pages are written, and regions called clean.</param>
    /// <returns>Whether that was done, or was not asked for.</returns>
    public Task<bool> CloseAsync(bool clean) => _closed ??= CloseCoreAsync(clean);

    /// <summary>It writes nothing any more, whatever it waits for.</summary>
    public void Leave() => Volatile.Write(ref _ended, true);

    private async Task<bool> CloseCoreAsync(bool clean)
    {
        Volatile.Write(ref _ended, !clean);

        // The learner first: a read of its may wait for pages, which the keeper must still bring in for it.
        await _learner.EndAsync();
        Volatile.Write(ref _stopping, true);
        _signal.Set();
        await _loop;
        bool isClean = true;
        if (clean && !_broken && !_readOnly)
        {
            isClean = await CleanAllAsync();
        }

        Volatile.Write(ref _ended, true);
        await _home.InvokeAsync(() => _queue!.Dispose());
        _owner.Release();
        return isClean;
    }

    private async Task OpenQueueAsync() => _queue = await _home.InvokeAsync(() => _drive.OpenQueue(_home));

    private void Begin(Func<int, bool> isDirty)
    {
        bool learns = false;
        for (int region = 0; region < _layout.Regions; region++)
        {
            bool unknown = isDirty(region);
            if (unknown || !ChecksumHeader.Has(_header.Used, region))
            {
                for (int page = _layout.FirstPage(region); page < _layout.EndPage(region); page++)
                {
                    Pages.MarkStale(page, isUnlearned: unknown && !_readOnly);
                }
            }

            learns |= unknown;
            if (unknown && !_readOnly && !_isUnrecorded)
            {
                // The drive says so: it may be in a cache of its only, and is flushed before the next header.
                Regions.Let(region);
            }
        }

        if (Volatile.Read(ref _ended))
        {
            // Nobody waits for it any more.
            return;
        }

        _lookedMs = NowMs;
        _loop = StartTask(RunAsync);
        if (!_readOnly)
        {
            _learner.Begin(learns);
        }
    }

    /// <summary>Starts a task where the keeper's own runs.</summary>
    internal Task StartTask(Func<Task> task) => Task.Factory
        .StartNew(task, CancellationToken.None, TaskCreationOptions.DenyChildAttach, _options.Scheduler).Unwrap();

    private async Task RunAsync()
    {
        while (!Volatile.Read(ref _stopping))
        {
            await _signal.WaitAsync(_header.Dirty.AsSpan().ContainsAnyExcept(0UL) ? _look : Timeout.InfiniteTimeSpan);
            try
            {
                await TurnAsync();
            }
#pragma warning disable CA1031 // A bug here must not leave requests waiting for ever: they get errors instead.
            catch (Exception e)
#pragma warning restore CA1031
            {
                _broken = true;
                _owner.Tell($"the keeper of the checksums failed: {e.Message}");
                RefuseAll(-Errno.EPROTO);
            }
        }

        RefuseAll(-Errno.ESHUTDOWN);
    }

    private async Task TurnAsync()
    {
        TakeAsked();
        while (_waiting.Count != 0 && !Volatile.Read(ref _stopping))
        {
            if (_broken)
            {
                RefuseAll(-Errno.EPROTO);
                return;
            }

            await OpenRegionsAsync();
            if (!await ServeAsync())
            {
                break;
            }

            TakeAsked();
        }

        LookAtFlushes();
        if (!_readOnly && !_broken && NowMs - _lookedMs >= (long)_look.TotalMilliseconds)
        {
            _lookedMs = NowMs;
            Regions.Now++;
            await CleanAsync(RestLooks, LoadsAtOnce * 4);
        }
    }

    private void TakeAsked()
    {
        int from = _waiting.Count;
        for (ChecksumOp? op = Interlocked.Exchange(ref _asked, null); op is not null; op = op.NextAsked)
        {
            _waiting.Add(op);
        }

        // They were pushed: the oldest comes last.
        _waiting.Reverse(from, _waiting.Count - from);
    }

    private void RefuseAll(int status)
    {
        TakeAsked();
        foreach (ChecksumOp operation in _waiting)
        {
            operation.Grant(status);
        }

        _waiting.Clear();
    }

    /// <summary>Opens the regions in which operations wait to write: they are called dirty first, durably.</summary>
    private async Task OpenRegionsAsync()
    {
        var shut = new HashSet<int>();
        bool isNew = false;
        ulong[] used = [.. _header.Used], dirty = [.. _header.Dirty];
        foreach (ChecksumOp operation in _waiting.Where(o => o.Changes))
        {
            for (int page = operation.FirstPage; page <= operation.LastPage; page++)
            {
                int region = _layout.RegionOf(page);
                if (!Regions.IsOpen(region) && shut.Add(region))
                {
                    isNew |= !ChecksumHeader.Has(dirty, region);
                    dirty[region >> 6] |= 1UL << region;
                    used[region >> 6] |= 1UL << region;
                }
            }
        }

        int status = isNew || (_isUnrecorded && shut.Count != 0) ? await WriteHeaderAsync(_header with { Used = used, Dirty = dirty }) : 0;
        if (status == 0)
        {
            foreach (int region in shut)
            {
                Regions.Let(region);
            }

            return;
        }

        // Of room and of time the array knows what to make. Anything else is not an error of the place that was to be written.
        int answer = BlockErrors.MayBeOfPlace(status) ? -Errno.EPROTO : status;
        _waiting.RemoveAll(operation =>
        {
            bool lacks = operation.Changes
                && (shut.Contains(_layout.RegionOf(operation.FirstPage)) || shut.Contains(_layout.RegionOf(operation.LastPage)));
            if (lacks)
            {
                operation.Grant(answer);
            }

            return lacks;
        });
    }

    /// <summary>
    /// Brings in pages for those who wait, the oldest first, and pins them for them: they cannot be thrown out before they are
    /// used. Returns false where there is no room now.
    /// </summary>
    private async Task<bool> ServeAsync()
    {
        var loads = new List<int>();
        int count = 0;
        Pages.IsHungry = false;
        for (; count < _waiting.Count && loads.Count < LoadsAtOnce; count++)
        {
            ChecksumOp operation = _waiting[count];
            operation.Pinned = 0;
            bool hasRoom = true;
            for (int page = operation.FirstPage; page <= operation.LastPage && hasRoom; page++)
            {
                if (Pages.TryPin(page))
                {
                    operation.Pinned |= 1 << (page - operation.FirstPage);
                }
                else if (!loads.Contains(page))
                {
                    hasRoom = Pages.TryGiveFrame(page);
                    if (hasRoom)
                    {
                        loads.Add(page);
                    }
                }
            }

            if (!hasRoom)
            {
                Unpin(operation);
                break;
            }
        }

        if (loads.Count != 0)
        {
            await Task.WhenAll(loads.Select(LoadAsync));
        }

        for (int i = 0; i < count; i++)
        {
            PinRest(_waiting[i]);
            _waiting[i].Grant(0);
        }

        _waiting.RemoveRange(0, count);
        return count != 0 || await MakeRoomAsync();
    }

    private void Unpin(ChecksumOp operation)
    {
        for (int page = operation.FirstPage; page <= operation.LastPage; page++)
        {
            if ((operation.Pinned & (1 << (page - operation.FirstPage))) != 0)
            {
                Pages.Unpin(page);
            }
        }

        operation.Pinned = 0;
    }

    private void PinRest(ChecksumOp operation)
    {
        for (int page = operation.FirstPage; page <= operation.LastPage; page++)
        {
            if ((operation.Pinned & (1 << (page - operation.FirstPage))) == 0 && !Pages.TryPin(page))
            {
                throw new InvalidOperationException($"Page {page} is not there.");
            }

            if (operation.Changes && !Regions.TryEnter(_layout.RegionOf(page)))
            {
                throw new InvalidOperationException($"The region of page {page} is shut.");
            }
        }
    }

    /// <summary>
    /// All that is in memory is dirty or in use: writes some of it back. Returns whether another try is worth it; otherwise the
    /// keeper is told when a pin is given back.
    /// </summary>
    private async Task<bool> MakeRoomAsync()
    {
        Pages.IsHungry = true;
        List<int> victims = Pages.DirtyVictims(LoadsAtOnce);
        if (victims.Count == 0)
        {
            // One whose pin was given back before this was set is found now.
            return Pages.HasVictim;
        }

        bool[] written = await Task.WhenAll(victims.Select(WritePageAsync));
        for (int i = 0; i < victims.Count; i++)
        {
            if (!written[i])
            {
                // Its region stays dirty until the next start, which sums its blocks anew.
                int region = _layout.RegionOf(victims[i]);
                _doubt[region >> 6] |= 1UL << region;
                Pages.Drop(victims[i]);
                LosePage("cannot be written");
            }
        }

        return true;
    }

    private async Task LoadAsync(int page)
    {
        bool isKnown = false;
        if (!Pages.IsStale(page))
        {
            (int status, byte[] block) = await ReadPatientlyAsync(_layout.PageOffset(page));
            isKnown = status == 0 && ChecksumPage.IsSound(block, _member, page);
            if (isKnown)
            {
                Fill(page, block);
            }
            else
            {
                Pages.MarkStale(page, isUnlearned: !_readOnly);
                LosePage(status != 0 ? $"cannot be read ({BlockIo.DescribeErrno(-status)})" : "is damaged");
                _learner.LookAgain();
            }
        }

        if (!isKnown)
        {
            Fill(page, default);
        }

        Pages.Enter(page);
    }

    private unsafe void Fill(int page, ReadOnlySpan<byte> block)
    {
        var frame = new Span<byte>(Pages.Frame(page), ChecksumLayout.BlockBytes);
        frame.Clear();
        block.CopyTo(frame);
    }

    private void LosePage(string why)
    {
        if (Volatile.Read(ref _ended))
        {
            // It was called off, and is where it was.
            return;
        }

        LostPages++;
        if (LostPages == 1)
        {
            _owner.Tell($"a page of checksums {why}: its blocks are not verified until they were summed anew");
        }
    }

    /// <summary>
    /// Calls regions clean that have been at rest: first writers are shut out, then pages are written, then the drive is flushed,
    /// then the header says so.
    /// </summary>
    /// <param name="rest">For how many looks nobody wrote there.</param>
    /// <param name="most">About how many pages are written before others are served again.</param>
    /// <returns>Whether a region was called clean, and others may wait for it.</returns>
    private async Task<bool> CleanAsync(int rest, int most)
    {
        if (_isUnrecorded && (!Enumerable.Range(0, _layout.Regions).Any(IsCleanable) || await WriteHeaderAsync(_header) != 0))
        {
            return false;
        }

        var shut = new List<int>();
        var pages = new List<int>();
        for (int region = 0; region < _layout.Regions && pages.Count < most; region++)
        {
            if (Regions.IsOpen(region) && Regions.RestOf(region) >= rest && IsCleanable(region) && Regions.TryShut(region))
            {
                shut.Add(region);
                int first = _layout.FirstPage(region);
                pages.AddRange(Enumerable.Range(first, _layout.EndPage(region) - first).Where(Pages.MustBeWritten));
            }
        }

        if (shut.Count == 0)
        {
            return false;
        }

        bool isDone = true;
        foreach (int[] chunk in pages.Chunk(Depth))
        {
            isDone &= !(await Task.WhenAll(chunk.Select(WritePageAsync))).Contains(false);
        }

        isDone = isDone && await FlushAsync();
        LookAtFlushes();
        if (isDone && shut.TrueForAll(IsCleanable))
        {
            ulong[] dirty = [.. _header.Dirty];
            foreach (int region in shut)
            {
                dirty[region >> 6] &= ~(1UL << region);
            }

            isDone = await WriteHeaderAsync(_header with { Dirty = dirty }) == 0;
            if (isDone)
            {
                return true;
            }
        }

        // The drive calls them dirty, or may do so.
        foreach (int region in shut)
        {
            Regions.Let(region);
        }

        return false;
    }

    /// <summary>Whether the blocks of a page are to be read for their sums, in this run.</summary>
    internal bool MustLearn(int page) => Pages.IsUnlearned(page) && !ChecksumHeader.Has(_doubt, _layout.RegionOf(page));

    private bool IsCleanable(int region)
    {
        if (ChecksumHeader.Has(_doubt, region))
        {
            return false;
        }

        for (int page = _layout.FirstPage(region); page < _layout.EndPage(region); page++)
        {
            if (Pages.IsUnlearned(page))
            {
                return false;
            }
        }

        return true;
    }

    private async Task<bool> CleanAllAsync()
    {
        while (await CleanAsync(0, LoadsAtOnce * 4))
        {
            // The rest.
        }

        return !_header.Dirty.AsSpan().ContainsAnyExcept(0UL);
    }

    /// <summary>Regions that were dirty when a flush failed are not called clean in this run.</summary>
    private void LookAtFlushes()
    {
        int failed = Volatile.Read(ref _failedFlushes);
        if (failed != _seenFailedFlushes)
        {
            _seenFailedFlushes = failed;
            for (int i = 0; i < _doubt.Length; i++)
            {
                _doubt[i] |= _header.Dirty[i];
            }
        }
    }

    private async Task<bool> WritePageAsync(int page)
    {
        var block = new byte[ChecksumLayout.BlockBytes];
        Pages.CopyForDrive(page, block);
        ChecksumPage.Seal(block, _member, page);
        bool isWritten = await TryAsync(() => BlockIo.WriteAsync(_drive, _queue!, _home, _layout.PageOffset(page), block)) == 0;
        if (isWritten)
        {
            Pages.MarkWritten(page);
        }
        else if (Pages.IsReady(page))
        {
            Pages.MarkDirty(page);
        }

        return isWritten;
    }

    /// <summary>Writes the next header and makes it durable. Returns 0 or a negative errno.</summary>
    private async Task<int> WriteHeaderAsync(ChecksumHeader header)
    {
        if (!_hasFlushed)
        {
            // The last one may be in the drive's cache only, since a kill. The slot that is written now has the one before.
            if (!await FlushAsync())
            {
                return -Errno.EPROTO;
            }

            _hasFlushed = true;
        }

        ChecksumHeader next = header with { Sequence = _header.Sequence + 1 };
        byte[] block = next.ToBlock(_layout, _member);
        int status = await TryAsync(() => BlockIo.WriteAsync(_drive, _queue!, _home, _layout.HeaderOffset(next.Sequence), block));
        if (status == 0)
        {
            status = await FlushAsync() ? 0 : -Errno.EPROTO;
        }

        if (status == 0)
        {
            _header = next;
            LetRecorded();
        }

        return status;
    }

    /// <summary>The drive says of all regions that are dirty that they are.</summary>
    private void LetRecorded()
    {
        for (int region = 0; _isUnrecorded && region < _layout.Regions; region++)
        {
            if (ChecksumHeader.Has(_header.Dirty, region))
            {
                Regions.Let(region);
            }
        }

        _isUnrecorded = false;
    }

    /// <summary>Flushes the drive. One that fails is not tried again, and told by every queue.</summary>
    private async Task<bool> FlushAsync()
    {
        int status = await TryAsync(() => BlockIo.FlushAsync(_drive, _queue!, _home), isFlush: true);
        if (status != 0 && status != -Errno.ESHUTDOWN)
        {
            LostFlushes++;
            NoteFailedFlush();
            LookAtFlushes();
        }

        return status == 0;
    }

    private async Task<(int Status, byte[] Block)> ReadPatientlyAsync(long offset)
    {
        var block = new byte[ChecksumLayout.BlockBytes];
        for (int tries = 1; ; tries++)
        {
            int status = await TryAsync(() => BlockIo.ReadAsync(_drive, _queue!, _home, offset, block));
            if (status == 0 || tries == 3 || BlockErrors.KindOf(status) == BlockErrorKind.Gone)
            {
                return (status, block);
            }

            await Task.Delay(s_readAgain, _options.Clock);
        }
    }

    /// <summary>
    /// Does something, again where the error may pass, and nothing any more once it has ended. Returns 0 or a negative errno.
    /// </summary>
    internal async Task<int> TryAsync(Func<Task> request, bool isFlush = false)
    {
        for (int tries = 1; ; tries++)
        {
            if (Volatile.Read(ref _ended))
            {
                // The drive may be somebody else's by now.
                return -Errno.ESHUTDOWN;
            }

            try
            {
                await request();
                return 0;
            }
            catch (BlockIoException e)
            {
                bool mayRepeat = BlockErrors.KindOf(-e.Errno) == BlockErrorKind.Passing
                    && (!isFlush || e.Errno is Errno.EAGAIN or Errno.EINTR);
                if (!mayRepeat || tries == MaxTries)
                {
                    return -e.Errno;
                }
            }

            await Task.Delay(TimeSpan.FromMilliseconds(1 << tries), _options.Clock);
        }
    }
}
