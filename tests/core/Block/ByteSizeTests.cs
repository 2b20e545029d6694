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
    [InlineData("99999999999999999999")]
    [InlineData("0.0001K")]
    public void Refuses(string text) => Assert.Contains("64KiB", Assert.Throws<FormatException>(() => ByteSize.Parse(text)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData(0, "0")]
    [InlineData(513, "513")]
    [InlineData(4096, "4KiB")]
    [InlineData(1536L << 20, "1536MiB")]
    [InlineData(1L << 40, "1TiB")]
    public void FormatsExactly(long bytes, string text)
    {
        Assert.Equal(text, ByteSize.Format(bytes));
        Assert.Equal(bytes, ByteSize.Parse(text));
    }

    [Theory]
    [InlineData(12, "12B")]
    [InlineData(1536, "1.5KiB")]
    [InlineData(1000L << 30, "1000GiB")]
    public void FormatsForReading(long bytes, string text) => Assert.Equal(text, ByteSize.FormatRounded(bytes));
}
