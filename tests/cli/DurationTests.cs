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

    /// <summary>Seconds on the command line may have their unit; the volume, which is not there, is looked for later.</summary>
    [Theory]
    [InlineData("30", true)]
    [InlineData("30s", true)]
    [InlineData("5m", true)]
    [InlineData("1440m", true)]
    [InlineData("1441m", false)]
    [InlineData("30x", false)]
    [InlineData("m", false)]
    [InlineData("-1s", false)]
    public async Task Seconds_may_have_their_unit(string text, bool isTime)
    {
        string state = Directory.CreateTempSubdirectory("pbt").FullName;
        using var errors = new StringWriter();
        int code = await Polyblk.Cli.CommandLine.CliProgram.RunAsync(
            ["serve", "none", "--frontend", "nbd", "--wait", text, "--state", state], TextWriter.Null, errors);
        Directory.Delete(state, recursive: true);
        Assert.Equal(isTime ? ExitCode.NotFound : ExitCode.Usage, code);
        Assert.Equal(!isTime, errors.ToString().Contains("or as 30s or 5m", StringComparison.Ordinal));
    }
}
