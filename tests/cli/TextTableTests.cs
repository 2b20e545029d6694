using Polyblk.Cli.Output;
using Polyblk.Host;

namespace Polyblk.Cli.Tests;

public sealed class TextTableTests
{
    private static TextTable Volumes()
    {
        var table = new TextTable("NAME", "HEALTH", "LEVEL", "SIZE", "STATUS", "DRIVES");
        table.AddRow(
            "data", "degraded (1 of 3 out)", "raid5", "21.8TiB", "served (process 123456)", "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4 /dev/sdb");
        table.AddRow("toy", "-", "raid0", "2GiB", "stopped, volatile", "ram:1GiB ram:1GiB");
        return table;
    }

    [Fact]
    public void OnAWideTerminalEachRowIsALine()
    {
        string[] lines = [.. Volumes().Render(200)];
        Assert.Equal(3, lines.Length);
        Assert.Equal("toy   -                      raid0  2GiB     stopped, volatile        ram:1GiB ram:1GiB", lines[2]);
    }

    /// <summary>In 80 columns everything but the drives, which may be long, is in one line.</summary>
    [Fact]
    public void InEightyColumnsTheLastColumnGivesWay()
    {
        string[] lines = [.. Volumes().Render(80)];
        Assert.Equal("NAME  HEALTH                 LEVEL  SIZE     STATUS", lines[0]);
        Assert.Equal("data  degraded (1 of 3 out)  raid5  21.8TiB  served (process 123456)", lines[1]);
        Assert.Equal("    DRIVES: /dev/disk/by-id/wwn-0x5000c500a1b2c3d4 /dev/sdb", lines[2]);
        Assert.All(lines, l => Assert.InRange(l.Length, 0, 80));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(20)]
    [InlineData(60)]
    [InlineData(80)]
    [InlineData(100)]
    [InlineData(120)]
    [InlineData(4096)]
    public void NothingVanishesAtAnyWidth(int width)
    {
        string all = string.Join('\n', Volumes().Render(width));
        string[] texts =
        [
            "data", "degraded (1 of 3 out)", "raid5", "21.8TiB", "served (process 123456)", "wwn-0x5000c500a1b2c3d4", "/dev/sdb", "toy", "volatile",
        ];
        foreach (string text in texts)
        {
            Assert.Contains(text, all, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void TextOfOthersIsMadePrintable()
    {
        var table = new TextTable("NAME", "PATH");
        table.AddRow("a\nerror: b", "\u001b[31mred\u202e");
        Assert.Equal(@"a\nerror: b  \x1b[31mred\u{202e}", table.Render(4096).Last());
    }

    [Fact]
    public void MessagesKeepTheirLinesAndNamesTheirLine()
    {
        Assert.Equal("one\ntwo\\x07", Printable.Text("one\ntwo\a"));
        Assert.Equal("one\\ntwo", Printable.Line("one\ntwo"));
        string longText = new string('x', 499) + "\U0001F600" + new string('y', 3000);
        Assert.Equal(longText, Printable.Line(longText));
    }
}
