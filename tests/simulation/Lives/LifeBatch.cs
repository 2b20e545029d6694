// Many lives of one level at once: a thread for each processor takes the next seed until there are no more, or one was lost.

using System.Globalization;

namespace Polyblk.Simulation.Tests.Lives;

/// <summary>See the top of the file.</summary>
/// <param name="first">The first seed.</param>
/// <param name="step">From one seed to the next.</param>
/// <param name="lives">How many.</param>
internal sealed class LifeBatch(ulong first, ulong step, ulong lives)
{
    private readonly Lock _lock = new();
    private ulong _taken;
    private string? _lost;

    /// <summary>Lives that were lived.</summary>
    public ulong Lived { get; private set; }

    /// <summary>What they met.</summary>
    public LifeCounts Counts { get; private set; }

    /// <summary>The processor time that they took.</summary>
    public TimeSpan Time { get; private set; }

    /// <summary>Lives them. Returns how one was lost, or null.</summary>
    public string? Run()
    {
        Thread[] threads = [.. Enumerable.Range(0, Environment.ProcessorCount).Select(_ => new Thread(LiveOn))];
        Array.ForEach(threads, t => t.Start());
        Array.ForEach(threads, t => t.Join());
        return _lost;
    }

    /// <summary>The processor time that the calling thread has used.</summary>
    private static TimeSpan ThreadTime()
    {
        // The fields behind the name, which may hold blanks: user and system time are the 14th and 15th of all, in hundredths of
        // a second.
        string stat = File.ReadAllText("/proc/thread-self/stat");
        string[] fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
        long ticks = long.Parse(fields[11], CultureInfo.InvariantCulture) + long.Parse(fields[12], CultureInfo.InvariantCulture);
        return TimeSpan.FromMilliseconds(ticks * 10);
    }

    private void LiveOn()
    {
        while (TakeNext() is { } seed)
        {
            (string? lost, LifeCounts counts) = Live(seed);
            lock (_lock)
            {
                Lived++;
                Counts += counts;
                _lost ??= lost;
            }
        }

        lock (_lock)
        {
            Time += ThreadTime();
        }
    }

    private static (string? Lost, LifeCounts Counts) Live(ulong seed)
    {
        var life = new Life(seed);
        string? lost = null;
        try
        {
            life.Run();
        }
        catch (Exception e)
        {
            lost = life.Describe(e);
        }

        try
        {
            life.Dispose();
        }
        catch (Exception e)
        {
            // Of one that was lost nothing can be put away in order.
            lost ??= life.Describe(e);
        }

        return (lost, life.Counts);
    }

    private ulong? TakeNext()
    {
        lock (_lock)
        {
            return _taken < lives && _lost is null ? first + (_taken++ * step) : null;
        }
    }
}
