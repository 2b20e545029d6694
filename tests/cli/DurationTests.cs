using Polyblk.Host;

namespace Polyblk.Cli.Tests;

public sealed class DurationTests
{
    [Theory]
    [InlineData("30d", 720)]
    [InlineData("36h", 36)]
    [InlineData("off", 0)]
    public void What_people_write_is_read_and_written(string text, int hours)
    {
        Assert.True(Duration.TryParse(text, out TimeSpan time));
        Assert.Equal(TimeSpan.FromHours(hours), time);
        Assert.Equal(text, Duration.Format(time));
    }

    [Theory]
    [InlineData("")]
    [InlineData("d")]
    [InlineData("30")]
    [InlineData("0d")]
    [InlineData("-1d")]
    [InlineData("1.5d")]
    [InlineData("30m")]
    [InlineData("36601d")]
    [InlineData("99999999999h")]
    public void Nothing_else_is(string text) => Assert.False(Duration.TryParse(text, out _));
}
