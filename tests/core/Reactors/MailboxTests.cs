using Polyblk.Core.Reactors;

namespace Polyblk.Core.Tests.Reactors;

public sealed class MailboxTests
{
    [Fact]
    public void TakesInTheOrderOfPosting()
    {
        var mailbox = new Mailbox();
        Assert.True(mailbox.IsEmpty);
        Assert.Null(mailbox.TakeAll());
        Note[] notes = [.. Enumerable.Range(0, 5).Select(i => new Note(0, i))];
        Array.ForEach(notes, mailbox.Post);
        Assert.False(mailbox.IsEmpty);
        Assert.Equal(notes, Walk(mailbox.TakeAll()));
        Assert.True(mailbox.IsEmpty);
    }

    [Fact]
    public void ManySendersLoseNothingAndKeepTheirOrder()
    {
        const int senders = 4, each = 20_000;
        var mailbox = new Mailbox();
        Thread[] threads = [.. Enumerable.Range(0, senders).Select(sender => new Thread(() =>
        {
            for (int i = 0; i < each; i++)
            {
                mailbox.Post(new Note(sender, i));
            }
        }))];
        Array.ForEach(threads, t => t.Start());
        var next = new int[senders];
        for (int taken = 0; taken < senders * each;)
        {
            List<Note> batch = Walk(mailbox.TakeAll());
            if (batch.Count == 0)
            {
                Thread.Yield();
            }

            foreach (Note note in batch)
            {
                Assert.Equal(next[note.Sender]++, note.Number);
                taken++;
            }
        }

        Array.ForEach(threads, t => t.Join());
        Assert.True(mailbox.IsEmpty);
    }

    private static List<Note> Walk(ReactorWork? work)
    {
        var notes = new List<Note>();
        for (; work is not null; work = work.NextWork)
        {
            notes.Add((Note)work);
        }

        return notes;
    }

    private sealed class Note(int sender, int number) : ReactorWork
    {
        public int Sender { get; } = sender;

        public int Number { get; } = number;

        public override void Run()
        {
        }
    }
}
