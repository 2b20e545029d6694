// What a purge takes away: what the program has made, and no drive, wherever somebody has put it.

namespace Polyblk.Package.Tests;

public sealed class PurgeTests : IDisposable
{
    private static readonly string[] s_made =
    [
        "var/lib/polyblk/volumes/data.json", "var/lib/polyblk/volumes/data.json.12.tmp",
        "var/lib/polyblk/log/_daemon.log", "var/lib/polyblk/log/data_001.log",
        "var/lib/polyblk/exports/data/ublk/data-0-1234abcd.json", "var/lib/polyblk/exports/data/vduse-data.state",
        "var/lib/polyblk/exports/data/ublk/data-0-1234abcd.json.new",
        "var/lib/polyblk/events/events-0000000000000000001.jsonl", "var/lib/polyblk/events/lock",
        "run/polyblk/data/lock", "run/polyblk/data/record.lock", "run/polyblk/_daemon/lock",
        "run/polyblk/lock/lock", "run/polyblk/record.lock/record.lock",
    ];

    private static readonly string[] s_drives =
    [
        "var/lib/polyblk/a.img", "var/lib/polyblk/volumes/b.img", "var/lib/polyblk/exports/data/c",
        "var/lib/polyblk/drives/d.json",
        "var/lib/polyblk/events/f.img", "run/polyblk/e.img",
    ];

    private readonly string _root = Directory.CreateTempSubdirectory("polyblk-purge-").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public void Nothing_stays_of_what_it_made()
    {
        Make(s_made);
        Purge("purge");
        Assert.Equal(["run", "var", "var/lib"], Left());
    }

    [Fact]
    public void Drives_that_are_files_stay()
    {
        Make([.. s_made, .. s_drives]);
        Purge("purge");
        Assert.Equal(s_drives.Order(StringComparer.Ordinal), Left().Where(l => File.Exists(Path.Combine(_root, l))));
    }

    [Theory]
    [InlineData("remove")]
    [InlineData("upgrade")]
    public void Nothing_else_takes_anything_away(string what)
    {
        Make(s_made);
        string[] before = Left();
        Purge(what);
        Assert.Equal(before, Left());
    }

    private void Make(string[] files)
    {
        foreach (string file in files.Select(f => Path.Combine(_root, f)))
        {
            Directory.CreateDirectory(Path.GetDirectoryName(file)!);
            File.WriteAllText(file, "x");
        }
    }

    private void Purge(string what)
    {
        string script = Shell.Source("eng", "packaging", "postrm");
        (int status, string output) = Shell.TryRun([("DPKG_ROOT", _root)], "sh", script, what);
        Assert.Equal((0, string.Empty), (status, output));
    }

    private string[] Left() =>
    [
        .. Directory.GetFileSystemEntries(_root, "*", SearchOption.AllDirectories)
            .Select(e => Path.GetRelativePath(_root, e)).Order(StringComparer.Ordinal),
    ];
}
