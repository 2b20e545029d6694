// Commands that end by themselves: what they print, and the exit codes that scripts rely on.

using System.Text.Json;
using Polyblk.Host;

namespace Polyblk.Cli.Process.Tests;

public sealed class CommandTests : IDisposable
{
    private readonly PolyblkSandbox _sandbox = new();

    public void Dispose() => _sandbox.Dispose();

    [Theory]
    [InlineData(2, "Did you mean 'volume'?", "volum", "list")]
    [InlineData(2, "Did you mean 'list'?", "volume", "lst")]
    [InlineData(2, "Did you mean '--level'?", "volume", "create", "x", "--lvel", "raid5", "a")]
    [InlineData(2, "raid5 needs at least 3 drives; 2 given", "volume", "create", "x", "--level", "raid5", "ram:16M", "ram:16M")]
    [InlineData(2, "3+3 takes 6 drives; 2 given", "volume", "create", "x", "--level", "3+3", "ram:16M", "ram:16M")]
    [InlineData(2, "'8+9' is no shape of a stripe", "volume", "create", "x", "--level", "8+9", "ram:16M", "ram:16M")]
    [InlineData(2, "There are: raid0", "volume", "create", "x", "--level", "raid7", "ram:16M")]
    [InlineData(2, "power of two from 4KiB to 1MiB", "volume", "create", "x", "--level", "raid0", "--chunk", "5KiB", "ram:16M", "ram:16M")]
    [InlineData(2, "is no size for --size", "volume", "create", "x", "--level", "raid0", "--size", "many", "ram:16M")]
    [InlineData(2, "cannot be a volume's name", "volume", "create", "../x", "--level", "raid0", "ram:16M")]
    [InlineData(3, "There is no volume 'x'", "volume", "show", "x")]
    [InlineData(3, "There is no volume 'x'", "serve", "x", "--frontend", "vhost-user")]
    [InlineData(3, "no such file or device", "volume", "create", "x", "--level", "raid1", "/nowhere/a", "/nowhere/b")]
    [InlineData(2, "is no idle policy", "serve", "x", "--frontend", "vhost-user", "--idle", "lazy")]
    [InlineData(2, "A word of the command line is empty", "serve", "x", "--frontend", "nbd", "--socket", "")]
    [InlineData(2, "A word of the command line is empty", "volume", "import", "")]
    [InlineData(2, "is no processor list", "serve", "x", "--frontend", "vhost-user", "--reactors", "a-b")]
    public void ErrorsSayWhatToDoAndHaveTheirExitCode(int code, string message, params string[] arguments)
    {
        RunOutput run = _sandbox.Run(arguments);
        Assert.Equal(code, run.ExitCode);
        Assert.Contains(message, run.Errors, StringComparison.Ordinal);
        Assert.StartsWith("error: ", run.Errors, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", run.Errors, StringComparison.Ordinal);
        Assert.Empty(run.Output);
    }

    [Fact]
    public void VerboseShowsWhereAnErrorCameFrom() =>
        Assert.Contains("   at Polyblk.Cli", _sandbox.Run("volume", "show", "x", "--verbose").Errors, StringComparison.Ordinal);

    [Theory]
    [InlineData("--help")]
    [InlineData("volume", "create", "--help")]
    [InlineData("serve", "--help")]
    public void HelpHasExamplesAndNoColour(params string[] arguments)
    {
        RunOutput run = _sandbox.Must(arguments);
        Assert.Contains("Examples:", run.Output, StringComparison.Ordinal);
        Assert.DoesNotContain('\u001b', run.Output);
    }

    [Fact]
    public void AVolumeLivesFromCreationToDeletion()
    {
        JsonElement made = _sandbox.Must("volume", "create", "data", "--level", "raid1", Member("a"), Member("b"), "--json").Json;
        Guid uuid = made.GetProperty("uuid").GetGuid();
        Assert.Equal("raid1", made.GetProperty("level").GetString());

        JsonElement listed = Assert.Single(_sandbox.Must("volume", "list", "--json").Json.EnumerateArray());
        Assert.Equal(uuid, listed.GetProperty("uuid").GetGuid());
        Assert.Equal("stopped", listed.GetProperty("status").GetString());
        Assert.Equal(made.GetProperty("sizeBytes").GetInt64(), listed.GetProperty("sizeBytes").GetInt64());

        JsonElement shown = _sandbox.Must("volume", "show", "data", "--json").Json;
        Assert.Equal("optimal", shown.GetProperty("array").GetProperty("health").GetString());
        Assert.Equal(2, shown.GetProperty("array").GetProperty("members").GetArrayLength());

        string table = _sandbox.Must("volume", "list").Output;
        Assert.Contains("data", table, StringComparison.Ordinal);
        Assert.DoesNotContain('\u001b', table);

        RunOutput again = _sandbox.Run("volume", "create", "data", "--level", "raid1", Member("c"), Member("d"));
        Assert.Equal(4, again.ExitCode);
        Assert.False(File.Exists(_sandbox.PathOf("c.img")));

        _sandbox.Must("volume", "delete", "data");
        Assert.Empty(_sandbox.Must("volume", "list", "--json").Json.EnumerateArray());
        Assert.True(File.Exists(_sandbox.PathOf("a.img")));
    }

    [Fact]
    public void AForgottenArrayIsFoundAndTakenOver()
    {
        JsonElement made = _sandbox.Must("volume", "create", "data", "--level", "raid5", Member("a"), Member("b"), Member("c"), "--json").Json;
        _sandbox.Must("volume", "delete", "data");
        JsonElement found = Assert.Single(_sandbox.Must("volume", "list", "--scan", _sandbox.Directory, "--json").Json.EnumerateArray());
        Assert.False(found.GetProperty("recorded").GetBoolean());
        Assert.Equal(made.GetProperty("uuid").GetGuid(), found.GetProperty("uuid").GetGuid());

        // In another order: the roles are in the superblocks.
        _sandbox.Must("volume", "import", Path("c"), Path("a"), Path("b"));
        JsonElement shown = _sandbox.Must("volume", "show", "data", "--json").Json;
        Assert.Equal("optimal", shown.GetProperty("array").GetProperty("health").GetString());
        Assert.Equal([Path("a"), Path("b"), Path("c")], shown.GetProperty("drives").EnumerateArray().Select(d => d.GetString()!));
        Assert.Equal(4, _sandbox.Run("volume", "import", Path("a"), Path("b"), Path("c")).ExitCode);
    }

    [Fact]
    public void DrivesInUseAreRefusedUnlessForcedOrWiped()
    {
        _sandbox.Must("volume", "create", "old", "--level", "raid1", Member("a"), Member("b"));
        RunOutput refused = _sandbox.Run("volume", "create", "new", "--level", "raid1", Path("a"), Path("b"));
        Assert.Equal(4, refused.ExitCode);
        Assert.Contains("'old'", refused.Errors, StringComparison.Ordinal);
        Assert.Contains("--force", refused.Errors, StringComparison.Ordinal);
        Assert.Equal("optimal", _sandbox.Must("volume", "show", "old", "--json").Json.GetProperty("array").GetProperty("health").GetString());

        RunOutput alone = _sandbox.Run("volume", "create", "alone", "--level", "none", Path("a"));
        Assert.Equal(4, alone.ExitCode);

        _sandbox.Must("volume", "delete", "old", "--wipe", "--yes");
        _sandbox.Must("volume", "create", "new", "--level", "raid1", Path("a"), Path("b"));
        _sandbox.Must("volume", "create", "newer", "--level", "raid0", Path("a"), Path("b"), "--force");
    }

    [Theory]
    [InlineData("md RAID member", 4096, "FC4E2BA9")]
    [InlineData("LUKS encrypted volume", 0, "4C554B53BABE")]
    [InlineData("LVM physical volume", 512, "4C4142454C4F4E4500000000000000000000000000000000" + "4C564D3220303031")]
    [InlineData(null, 1024 + 0x38, "53EF")]
    public void ADriveThatIsAPartOfSomethingElseIsNotServedAlone(string? part, int offset, string magic)
    {
        using (FileStream file = File.Create(Path("a")))
        {
            file.SetLength(64 << 20);
            file.Position = offset;
            file.Write(Convert.FromHexString(magic));
        }

        string[] command = ["volume", "create", "alone", "--level", "none", Path("a")];
        if (part is not null)
        {
            RunOutput refused = _sandbox.Run(command);
            Assert.Equal(4, refused.ExitCode);
            Assert.Contains(part, refused.Errors, StringComparison.Ordinal);
            Assert.Contains("--force", refused.Errors, StringComparison.Ordinal);
            command = [.. command, "--force"];
        }

        // A file system is no hindrance: serving one is what this level is for.
        _sandbox.Must(command);
    }

    [Fact]
    public void AFileSystemOnADriveIsNotOverwritten()
    {
        string drive = Path("a");
        using (var file = File.Create(drive))
        {
            file.SetLength(64 << 20);
            file.Position = 1024 + 0x38;
            file.Write([0x53, 0xEF]);
        }

        byte[] before = File.ReadAllBytes(drive);
        RunOutput run = _sandbox.Run("volume", "create", "x", "--level", "raid0", drive, Member("b"));
        Assert.Equal(4, run.ExitCode);
        Assert.Contains("ext", run.Errors, StringComparison.Ordinal);
        Assert.Equal(before, File.ReadAllBytes(drive));
        Assert.False(File.Exists(Path("b")));
    }

    [Fact]
    public void ProbeSpeaksOfEveryFrontend()
    {
        JsonElement[] probes = [.. _sandbox.Must("probe", "--json").Json.EnumerateArray()];
        Assert.Contains(probes, p => p.GetProperty("frontend").GetString() == "vhost-user" && p.GetProperty("available").GetBoolean());
        Assert.All(probes, p => Assert.NotEmpty(p.GetProperty("summary").GetString()!));
        Assert.Contains("vhost-user", _sandbox.Must("probe").Output, StringComparison.Ordinal);
    }

    private string Path(string name) => _sandbox.PathOf(name + ".img");

    private string Member(string name) => $"file:{Path(name)},size=64MiB";
}
