using Polyblk.Simulation.Tests.Lives;

namespace Polyblk.Simulation.Tests.Soak;

/// <summary>A soak lives the seeds that it is told, each once, and says so.</summary>
public sealed class SoakTests
{
    [Theory]
    [InlineData(0, "raid5", "3 12 21")]
    [InlineData(4, "raid5", "12 21 30")]
    [InlineData(3, "raid5", "3 12 21")]
    [InlineData(7, "all", "7 8 9")]
    public void Seeds_of_a_level_follow_each_other(ulong first, string level, string seeds)
    {
        var chosen = new SoakSeeds(first, LifePlan.IndexOf(level));
        Assert.Equal(seeds, string.Join(' ', Enumerable.Range(0, 3).Select(i => chosen[(ulong)i])));
    }

    [Theory]
    [InlineData("--lives")]
    [InlineData("--lives 0")]
    [InlineData("--minutes -1")]
    [InlineData("--level raid7")]
    [InlineData("--life 1")]
    public void Wrong_arguments_are_refused(string arguments) => Assert.Throws<FormatException>(() => SoakOptions.Parse(arguments.Split(' ')));

    [Fact]
    public void Without_an_end_it_has_one()
    {
        Assert.NotNull(SoakOptions.Parse([]).Time);
        Assert.Null(SoakOptions.Parse(["--lives", "7"]).Time);
    }

    [Fact]
    public async Task Jobs_share_the_lives_that_are_asked_for()
    {
        var soak = new Soaking(SoakOptions.Parse(["--lives", "7", "--jobs", "2", "--seed", "40"]));
        Assert.Equal(0, await soak.RunAsync());
        Assert.Equal(7ul, soak.Tally.Lives);
    }
}
