using System.Diagnostics;

namespace Polyblk.GuestPrograms.Doors;

/// <summary>How long a door waits for the next server.</summary>
internal static class Patience
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(120);
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(5);

    /// <summary>Tries until it succeeds.</summary>
    /// <exception cref="IOException">The last try's, when the time is over.</exception>
    public static T Try<T>(Func<T> connect)
    {
        for (long began = Stopwatch.GetTimestamp(); ; Thread.Sleep(s_pause))
        {
            try
            {
                return connect();
            }
            catch (IOException) when (Stopwatch.GetElapsedTime(began) < s_limit)
            {
                // Nobody listens yet, or it has died again.
            }
        }
    }
}
