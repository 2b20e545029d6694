using System.Diagnostics;

namespace Polyblk.Cli.Process.Tests;

/// <summary>Waits for what other processes do.</summary>
internal static class Wait
{
    /// <summary>Far below this everything is done; a test that waits so long fails.</summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(120);

    /// <summary>Looks again and again.</summary>
    /// <param name="isSo">Whether it is.</param>
    /// <param name="what">What is waited for.</param>
    public static void Until(Func<bool> isSo, string what)
    {
        for (long began = Stopwatch.GetTimestamp(); !isSo(); Thread.Sleep(10))
        {
            Assert.True(Stopwatch.GetElapsedTime(began) < s_patience, $"waited in vain for {what}");
        }
    }
}
