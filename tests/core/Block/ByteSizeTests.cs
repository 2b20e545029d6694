using Polyblk.Core.Block;

namespace Polyblk.Core.Tests.Block;

public sealed class ByteSizeTests
{
    [Theory]
    [InlineData("0", 0)]
    [InlineData("512", 512)]
    [InlineData("512B", 512)]
    [InlineData("64KiB", 65536)]
    [InlineData("64k", 65536)]
    [InlineData(" 1.5 GiB ", 3L << 29)]
    [InlineData("2T", 2L << 40)]
    [InlineData("8191PiB", 8191L << 50)]
    [InlineData("7EiB", 7L << 60)]
    [InlineData("7.5E", 15L << 59)]
    [InlineData("1eib", 1L << 60)]
    [InlineData("7.9990234375EiB", 8191L << 50)]
    public void Parses(string text, long bytes) => Assert.Equal(bytes, ByteSize.Parse(text));

    [Theory]
    [InlineData("")]
    [InlineData("GiB")]
    [InlineData("-1")]
    [InlineData("+1")]
    [InlineData("1.3B")]
    [InlineData("1e3")]
    [InlineData("12 GB?")]
    [InlineData("8192PiB")]
    [InlineData("8EiB")]
    [InlineData("79228162514264337593543950335EiB")]
    [InlineData("E")]
    [InlineData("99999999999999999999")]
    [InlineData("0.0001K")]
    public void Refuses(string text) => Assert.Contains("64KiB", Assert.Throws<FormatException>(() => ByteSize.Parse(text)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData(0, "0")]
    [InlineData(513, "513")]
    [InlineData(4096, "4KiB")]
    [InlineData(1536L << 20, "1536MiB")]
    [InlineData(1L << 40, "1TiB")]
    [InlineData(7L << 60, "7EiB")]
    public void FormatsExactly(long bytes, string text)
    {
        Assert.Equal(text, ByteSize.Format(bytes));
        Assert.Equal(bytes, ByteSize.Parse(text));
    }

    [Theory]
    [InlineData(12, "12B")]
    [InlineData(1536, "1.5KiB")]
    [InlineData(1000L << 30, "1000GiB")]
    [InlineData(1023, "1023B")]
    [InlineData((1L << 20) - 1, "1MiB")]
    [InlineData(long.MaxValue, "8EiB")]
    [InlineData(3L << 59, "1.5EiB")]
    public void FormatsForReading(long bytes, string text) => Assert.Equal(text, ByteSize.FormatRounded(bytes));
}
