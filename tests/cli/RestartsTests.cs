using Polyblk.Host.Daemon.Isolation;

namespace Polyblk.Cli.Tests;

public sealed class RestartsTests
{
    [Fact]
    public void WhoDiesAgainAndAgainWaitsLongerAndWhoLivedDoesNot()
    {
        var restarts = new Restarts();
        double[] waits = [.. Enumerable.Range(0, 12).Select(_ => restarts.After(TimeSpan.FromSeconds(1)).TotalSeconds)];
        Assert.Equal([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30, 30], waits);
        Assert.Equal(0.1, restarts.After(TimeSpan.FromMinutes(2)).TotalSeconds);
        Assert.Equal(0.2, restarts.After(TimeSpan.FromSeconds(1)).TotalSeconds, 6);
    }
}
