using Polyblk.Compare.Guest;
using Polyblk.Compare.Load;
using Polyblk.Compare.Load.Fio;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Workloads;

namespace Polyblk.Compare.Tests;

/// <summary>
/// What the report has as the commands of a load: lines that can be typed, or a comment where there is no command.
/// </summary>
public sealed class LoadCommandsTests : IDisposable
{
    private static readonly LoadSettings Settings = new(TimeSpan.FromSeconds(0.25), TimeSpan.FromSeconds(1), [2, 3], 7);
    private static readonly Workload OnFiles = Presets.Get("filesystem", 2)[0];

    private readonly string _place = Directory.CreateTempSubdirectory("polyblk-commands-").FullName;

    public void Dispose() => Directory.Delete(_place, recursive: true);

    [Fact]
    public void A_load_of_this_program_says_in_the_place_of_a_command_that_there_is_none()
    {
        ILoadGenerator[] loads = [new DriveLoad(), new VhostUserLoad()];
        LoadEndpoint[] places = [new FileEndpoint("/tmp/a.img", 1 << 20), new VhostUserEndpoint("/tmp/a.sock", 2, 1 << 20)];
        foreach ((ILoadGenerator load, LoadEndpoint place) in loads.Zip(places))
        {
            string words = load.Commands(place, Presets.Quick[1], Settings);
            Assert.StartsWith($"# no command: {load.Name} drives {place.Place}: 4 KiB random read, QD 32", words, StringComparison.Ordinal);
            Assert.Contains("on CPU 2,3, 0.25 s not counted and 1 s counted, seed 7", words, StringComparison.Ordinal);
            Assert.StartsWith("# no command: this program writes 1048576 bytes to " + place.Place, load.VerifyCommands(place, 9), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Fio_on_the_host_has_its_verification_and_what_is_done_about_the_file_system()
    {
        using ScratchSpace scratch = ScratchSpace.Create(_place, 17 << 20, 1, 1, [0], [0]);
        var load = new FioLoad((await FioProgram.TryFindAsync(scratch.PathOf("start"), CancellationToken.None))!, scratch);
        var device = new BlockEndpoint("/dev/a", 1 << 20);
        string folder = scratch.PathOf("mnt");
        string[] lines = load.Commands(device, OnFiles, Settings).Split('\n');
        Assert.Equal(["mkfs.ext4 -q -F /dev/a", $"mount -t ext4 /dev/a {folder}"], lines[..2]);
        Assert.Equal(5, lines.Length);
        Assert.Equal(lines[3] + " --create_only=1", lines[2]); // the files are made before, outside of the time that is measured
        Assert.All(lines[2..^1], l => Assert.StartsWith($"taskset -c 2,3 fio --output-format=json --name=compare --directory={folder}", l, StringComparison.Ordinal));
        Assert.Equal($"umount {folder}", lines[^1]);
        Assert.StartsWith("# no command: this program writes", load.VerifyCommands(device, 1), StringComparison.Ordinal);

        var export = new NbdEndpoint("/tmp/a.sock", "data", 1 << 20);
        Assert.StartsWith("fio --output-format=json --name=verify --ioengine=nbd '--uri=nbd+unix:///data?socket=/tmp/a.sock'", load.VerifyCommands(export, 1), StringComparison.Ordinal);
        Assert.Contains("--verify=crc32c", load.VerifyCommands(export, 1), StringComparison.Ordinal);

        string own = load.Commands(export, new Workload("mine", false, true, 4096, 1) { FioJobText = "[a]\nrw=read\n" }, Settings);
        Assert.StartsWith($"cat >{scratch.PathOf("custom.fio")} <<'END-OF-JOB-FILE'\n[global]\n", own, StringComparison.Ordinal);
        Assert.EndsWith($"[a]\nrw=read\n\nEND-OF-JOB-FILE\ntaskset -c 2,3 fio --output-format=json {scratch.PathOf("custom.fio")}", own, StringComparison.Ordinal);
    }

    [Fact]
    public void Fio_in_a_machine_has_the_same()
    {
        var load = new GuestFioLoad();
        var disk = new GuestEndpoint(new SshMachine("somewhere"), "/dev/vdb", 1 << 20);
        string[] lines = load.Commands(disk, OnFiles, Settings).Split('\n');
        Assert.StartsWith("mkfs.ext4 -q /dev/vdb >&2 && mount -t ext4 /dev/vdb /mnt", lines[0], StringComparison.Ordinal);
        Assert.Equal(4, lines.Length);
        Assert.Equal(lines[2] + " --create_only=1 >&2 || { umount /mnt; exit 1; }", lines[1]);
        Assert.All(lines[1..^1], l => Assert.StartsWith("fio --output-format=json --name=compare --directory=/mnt", l, StringComparison.Ordinal));
        Assert.Equal("umount /mnt", lines[^1]);
        Assert.Contains("--verify=crc32c", load.VerifyCommands(disk, 1), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("fio --rw=read", "fio", "--rw=read")]
    [InlineData("a '' 'b c' '{\"x\":1}' 'it'\\''s'", "a", "", "b c", "{\"x\":1}", "it's")]
    public void A_line_is_quoted_where_a_shell_would_read_something_else(string line, params string[] words) => Assert.Equal(line, ShellLine.Of(words));
}
