using Polyblk.Compare.Restart;

namespace Polyblk.Compare.Tests;

/// <summary>What a restart test believes.</summary>
public sealed class RestartJournalTests
{
    [Fact]
    public void A_block_must_hold_the_last_write_that_was_acknowledged()
    {
        var journal = new RestartJournal();
        (int block, byte[] first) = Write(journal, isOk: true);
        Assert.True(journal.IsRight(block, first));
        byte[] second = WriteAgain(journal, block, isOk: true);
        Assert.True(journal.IsRight(block, second));
        Assert.False(journal.IsRight(block, first));
        second[4095] ^= 1;
        Assert.False(journal.IsRight(block, second));
        Assert.Equal(0, journal.Errors);
    }

    [Fact]
    public void After_an_error_the_old_and_the_new_write_are_both_right_and_the_error_is_counted()
    {
        var journal = new RestartJournal();
        (int block, byte[] first) = Write(journal, isOk: true);
        byte[] failed = WriteAgain(journal, block, isOk: false);
        Assert.True(journal.IsRight(block, first));
        Assert.True(journal.IsRight(block, failed));
        Assert.False(journal.IsRight(block, new byte[RestartJournal.BlockBytes]));
        Assert.Equal(1, journal.Errors);
    }

    [Fact]
    public void A_block_in_flight_is_not_taken_again()
    {
        var journal = new RestartJournal();
        byte[] buffer = new byte[RestartJournal.BlockBytes];
        int first = journal.Take(buffer);
        HashSet<int> others = [.. Enumerable.Range(1, RestartJournal.Blocks - 1).Select(_ => journal.Take(buffer))];
        Assert.Equal(RestartJournal.Blocks - 1, others.Count);
        Assert.DoesNotContain(first, others);
    }

    [Fact]
    public void The_longest_gap_holds_the_time_from_the_last_answer_before()
    {
        var journal = new RestartJournal();
        Write(journal, isOk: true);
        journal.BeginTiming();
        Thread.Sleep(30);
        Write(journal, isOk: true);
        Write(journal, isOk: true);
        TimeSpan gap = journal.EndTiming();
        Assert.True(gap >= TimeSpan.FromMilliseconds(30), $"{gap}");
    }

    private static (int Block, byte[] Data) Write(RestartJournal journal, bool isOk)
    {
        byte[] data = new byte[RestartJournal.BlockBytes];
        int block = journal.Take(data);
        journal.Complete(block, isOk);
        return (block, data);
    }

    private static byte[] WriteAgain(RestartJournal journal, int block, bool isOk)
    {
        while (true)
        {
            byte[] data = new byte[RestartJournal.BlockBytes];
            int taken = journal.Take(data);
            journal.Complete(taken, taken != block || isOk);
            if (taken == block)
                return data;
        }
    }
}
