using Polyblk.Core.Logging;

namespace Polyblk.Core.Tests.Logging;

/// <summary>What comes from outside stays on one line of a log.</summary>
public sealed class LogTextTests
{
    [Theory]
    [InlineData("plain text, \\ too", "plain text, \\ too")]
    [InlineData("a\nb\r\tc", "a\\nb\\r\\tc")]
    [InlineData("\x1b[2J\x9b\x7f\0", "\\x1b[2J\\x9b\\x7f\\x00")]
    [InlineData("\u202Egnp.exe\u2028\u200B", "\\u{202e}gnp.exe\\u{2028}\\u{200b}")]
    [InlineData("Grüße, 日本, \U0001F600", "Grüße, 日本, \U0001F600")]
    public void What_a_client_names_stays_on_one_line(string text, string expected)
    {
        Assert.Equal(expected, LogText.Escape(text));
        Assert.Equal(expected, LogText.Escape(expected));
    }

    [Fact]
    public void Half_of_a_surrogate_pair_is_shown_as_a_number() =>
        Assert.Equal("half \\u{d83d}.", LogText.Escape("half \uD83D."));

    [Fact]
    public void A_very_long_name_is_cut()
    {
        string line = LogText.Escape(new string('x', 1 << 20));
        Assert.StartsWith(new string('x', LogText.MaxLength) + "... (", line, StringComparison.Ordinal);
        Assert.InRange(line.Length, LogText.MaxLength, LogText.MaxLength + 40);
    }
}
