namespace Polyblk.Raid.Journal;

/// <summary>
/// A transaction of a queue: from before its record is sent until what it wrote is on the members. Linked in their order, so that
/// the oldest that is not done is known without a search.
/// </summary>
internal sealed class JournalTransaction
{
    internal JournalTransaction? Before, After;

    /// <summary>Its number, from 1; 0 when it is at rest.</summary>
    public ulong Number { get; internal set; }
}

/// <summary>A queue's part in the journal: numbers its transactions. One reactor's.</summary>
/// <param name="journal">The journal.</param>
internal sealed class JournalWriter(WriteJournal journal)
{
    private JournalTransaction? _oldest, _newest;
    private ulong _last;

    /// <summary>The journal.</summary>
    public WriteJournal Journal { get; } = journal;

    /// <summary>Its number in this run.</summary>
    public uint Number { get; } = journal.TakeWriter();

    /// <summary>All transactions before this one are done.</summary>
    public ulong Oldest => _oldest?.Number ?? _last + 1;

    /// <summary>Begins a transaction.</summary>
    public void Begin(JournalTransaction transaction)
    {
        transaction.Number = ++_last;
        transaction.Before = _newest;
        transaction.After = null;
        if (_newest is null)
        {
            _oldest = transaction;
        }
        else
        {
            _newest.After = transaction;
        }

        _newest = transaction;
    }

    /// <summary>What a transaction wrote is on the members, durably, and the superblocks know of those that did not take it.</summary>
    public void End(JournalTransaction transaction)
    {
        if (transaction.Before is null)
        {
            _oldest = transaction.After;
        }
        else
        {
            transaction.Before.After = transaction.After;
        }

        if (transaction.After is null)
        {
            _newest = transaction.Before;
        }
        else
        {
            transaction.After.Before = transaction.Before;
        }

        transaction.Before = transaction.After = null;
        transaction.Number = 0;
    }
}
