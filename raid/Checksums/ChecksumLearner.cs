// Reads the blocks of pages that count for nothing, and so makes their sums: in the background, one page after the other, as long
// as there are any.
//
// It reads by a queue that learns (ChecksumQueue.Learns), whose operations ask the keeper for pages as all do. So the keeper ends
// after it.

using Polyblk.Core.Block;
using Polyblk.Core.Control;
using Polyblk.Core.Reactors;

namespace Polyblk.Raid.Checksums;

/// <summary>See the top of the file. The keeper's.</summary>
internal sealed class ChecksumLearner(
    ChecksumKeeper keeper, ChecksummedDrive owner, ChecksumLayout layout, Reactor home, ArrayRunOptions options)
{
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(10);

    private readonly ControlSignal _signal = new(options.Scheduler, options.Clock);
    private Task _task = Task.CompletedTask;
    private bool _isEnding, _looksAgain;

    /// <summary>Begins.</summary>
    /// <param name="hasPages">Whether there are pages to be learned; those wait as a resync does.</param>
    public void Begin(bool hasPages)
    {
        _looksAgain = hasPages;
        _task = keeper.StartTask(RunAsync);
    }

    /// <summary>There is one more page. Any thread.</summary>
    public void LookAgain()
    {
        Volatile.Write(ref _looksAgain, true);
        _signal.Set();
    }

    /// <summary>Ends it; the rest is the next run's.</summary>
    public Task EndAsync()
    {
        Volatile.Write(ref _isEnding, true);
        _signal.Set();
        return _task;
    }

    private async Task RunAsync()
    {
        if (options.ResyncAfter > TimeSpan.Zero && _looksAgain)
        {
            await _signal.WaitAsync(options.ResyncAfter);
        }

        IBlockQueue? queue = null;
        var buffer = new byte[ChecksumOp.MaxBytes];
        while (!Volatile.Read(ref _isEnding))
        {
            if (!Volatile.Read(ref _looksAgain))
            {
                await _signal.WaitAsync(Timeout.InfiniteTimeSpan);
                continue;
            }

            Volatile.Write(ref _looksAgain, false);
            try
            {
                queue ??= await home.InvokeAsync(() => owner.OpenLearner(home));
            }
            catch (IOException e)
            {
                owner.Tell($"blocks that are to be summed anew cannot be read: {e.Message}");
                return;
            }

            for (int page = 0; page < layout.Pages && !Volatile.Read(ref _isEnding); page++)
            {
                if (keeper.MustLearn(page))
                {
                    await LearnAsync(queue, page, buffer);
                    await Task.Delay(s_pause, options.Clock);
                }
            }
        }

        if (queue is not null)
        {
            await home.InvokeAsync(queue.Dispose);
        }
    }

    /// <summary>Reads the blocks of a page by the way that makes sums of them.</summary>
    private async Task LearnAsync(IBlockQueue queue, int page, byte[] buffer)
    {
        long from = layout.DataOffset + ((long)page * ChecksumLayout.SumsInPage * ChecksumLayout.BlockBytes);
        long end = Math.Min(layout.DataEnd, from + ((long)ChecksumLayout.SumsInPage * ChecksumLayout.BlockBytes));
        while (from < end)
        {
            int length = (int)Math.Min(buffer.Length, end - from);
            if (Volatile.Read(ref _isEnding))
            {
                return;
            }

            int status = await keeper.TryAsync(() => BlockIo.ReadAsync(owner, queue, home, from, buffer.AsMemory(0, length)));
            for (int at = 0; status != 0 && at < length; at += ChecksumLayout.BlockBytes)
            {
                // What cannot be read stays without a sum.
                Memory<byte> block = buffer.AsMemory(0, ChecksumLayout.BlockBytes);
                await keeper.TryAsync(() => BlockIo.ReadAsync(owner, queue, home, from + at, block));
            }

            from += length;
        }

        keeper.Pages.MarkLearned(page);
    }
}
