using Polyblk.Host.Daemon.Isolation;

namespace Polyblk.Cli.Tests;

public sealed class RestartsTests
{
    [Fact]
    public void WhoDiesAgainAndAgainWaitsLongerAndWhoLivedDoesNot()
    {
        var restarts = new Restarts();
        double[] waits = [.. Enumerable.Range(0, 14).Select(_ => restarts.After(TimeSpan.FromSeconds(1)).TotalSeconds)];
        Assert.Equal([0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 30, 30], waits);
        Assert.Equal(0.01, restarts.After(TimeSpan.FromSeconds(3)).TotalSeconds);
        Assert.Equal(0.02, restarts.After(TimeSpan.FromSeconds(1)).TotalSeconds, 6);
    }
}
