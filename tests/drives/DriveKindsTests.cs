// A kind of drives is its folder and one line: what is written, opened, explained and refused follows from the list of kinds.

using Polyblk.Core.Block;
using Polyblk.Drives.Null;

namespace Polyblk.Drives.Tests;

public sealed class DriveKindsTests
{
    [Fact]
    public void TheProgramHasTheseKinds()
    {
        Assert.Equal(["file", "ram", "null", "sim"], DriveKinds.Default.All.Select(k => k.Name));
        Assert.Equal("ram:, null:, sim:", DriveKinds.Default.VolatileNames);

        // Each has a folder of its own.
        string?[] folders = [.. DriveKinds.Default.All.Select(k => k.GetType().Namespace)];
        Assert.Equal(folders.Distinct(), folders);
        Assert.All(folders, f => Assert.StartsWith("Polyblk.Drives.", f, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("nvme:0000:01:00.0")]
    [InlineData("disk:1GiB")]
    [InlineData("RAM:1GiB")]
    public void AnUnknownKindIsToldWhichThereAre(string text)
    {
        string message = Assert.Throws<FormatException>(() => DriveKinds.Default.Parse(text)).Message;
        Assert.Equal(
            $"'{text}' is no drive: write a path such as /dev/nvme0n1, file:PATH[,size=SIZE], ram:SIZE, null:SIZE, or sim:SIZE[,seed=N].", message);
    }

    [Fact]
    public void HelpNamesEveryKindWithItsForm() => Assert.All(
        DriveKinds.Default.All, k => Assert.Contains($"{k.Form} is {k.Description}", DriveKinds.Default.Help, StringComparison.Ordinal));

    [Fact]
    public async Task AKindThatIsAddedIsReadOpenedAndExplainedAsTheOthersAre()
    {
        DriveKinds kinds = DriveKinds.Default.With(new TapeKind());
        DriveSpec spec = kinds.Parse("tape:1MiB,block-size=4096");
        Assert.Equal(("tape", 1L << 20, 4096, true), (spec.Kind.Name, spec.SizeBytes, spec.LogicalBlockSize, spec.IsVolatile));
        await using IBlockDevice drive = DriveFactory.Open(spec, readOnly: true);
        Assert.Equal((1L << 20, 4096, true), (drive.SizeBytes, drive.Limits.LogicalBlockSize, drive.Limits.ReadOnly));
        Assert.Contains("tape:SIZE is a drive that a test brought", kinds.Help, StringComparison.Ordinal);
        Assert.EndsWith(
            "or tape:SIZE.", Assert.Throws<FormatException>(() => kinds.Parse("disk:1GiB")).Message, StringComparison.Ordinal);
        Assert.Contains("no option 'speed'", Assert.Throws<FormatException>(() => kinds.Parse("tape:1MiB,speed=2")).Message, StringComparison.Ordinal);

        // The program's own list has not changed, and a name is taken once.
        Assert.Throws<FormatException>(() => DriveKinds.Default.Parse("tape:1MiB"));
        Assert.Throws<ArgumentException>(() => kinds.With(new TapeKind()));
    }

    [Fact]
    public void OnlyWhatKeepsNothingSaysSo()
    {
        Assert.True(new NullDrive(1 << 20).Limits.KeepsNothing);
        Assert.All(
            new[] { "ram:1MiB", "sim:1MiB" },
            text =>
            {
                IBlockDevice drive = DriveFactory.Open(DriveSpec.Parse(text));
                Assert.False(drive.Limits.KeepsNothing);
                drive.DisposeAsync().AsTask().GetAwaiter().GetResult();
            });
    }

    private sealed class TapeKind : SizedKind
    {
        public override string Name => "tape";

        public override string Description => "a drive that a test brought";

        protected override IBlockDevice Make(DriveSpec spec, long sizeBytes, int logicalBlockSize, bool readOnly) =>
            new NullDrive(sizeBytes, logicalBlockSize, readOnly);
    }
}
