namespace Polyblk.Compare.Restart;

/// <summary>Several threads, each with one request in flight: for consumers whose calls block.</summary>
internal static class EnduringThreads
{
    /// <summary>Runs <paramref name="write"/> on each thread until it is told to stop.</summary>
    /// <param name="threads">Threads.</param>
    /// <param name="journal">The blocks.</param>
    /// <param name="mustStop">Whether to stop.</param>
    /// <param name="write">Writes a block: thread, offset, data. False when that ended with an error.</param>
    public static void Run(int threads, RestartJournal journal, Func<bool> mustStop, Func<int, long, byte[], bool> write)
    {
        Exception? failure = null;
        Thread[] all =
        [
            .. Enumerable.Range(0, threads).Select(index => new Thread(() =>
            {
                try
                {
                    byte[] buffer = new byte[RestartJournal.BlockBytes];
                    while (!mustStop())
                    {
                        int block = journal.Take(buffer);
                        journal.Complete(block, write(index, RestartJournal.OffsetOf(block), buffer));
                    }
                }
                catch (IOException e)
                {
                    failure = e;
                }
            })
            { IsBackground = true, Name = $"restart/{index}" }),
        ];
        Array.ForEach(all, t => t.Start());
        Array.ForEach(all, t => t.Join());
        if (failure is not null)
        {
            throw failure;
        }
    }
}
