using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Drives.Files;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;

namespace Polyblk.Drives.Tests;

public sealed class FileDriveTests
{
    [Fact]
    public async Task CreatesAFileOnceAndKeepsALargerOne()
    {
        using var files = new TemporaryFiles();
        string path = files.NewPath();
        await using (IBlockDevice made = Open($"file:{path},size=2MiB"))
        {
            Assert.Equal(2 << 20, made.SizeBytes);
        }

        await using (IBlockDevice larger = Open($"file:{path},size=1MiB"))
        {
            Assert.Equal(2 << 20, larger.SizeBytes);
        }

        Refuses($"file:{path},size=4MiB", "leave the size out to take it as it is");
        Assert.Equal(2 << 20, new FileInfo(path).Length);
    }

    [Fact]
    public void RefusesWhatIsNoDrive()
    {
        using var files = new TemporaryFiles();
        string path = files.NewPath();
        Refuses(path, "there is no such file or device");
        Refuses($"file:{path}", $"file:{path},size=1GiB");
        Refuses($"file:{path}/x,size=1MiB", "the directory must exist");
        Refuses("/tmp", "directory");
        Refuses("/dev/zero", "neither a file nor a block device");
        Assert.False(File.Exists(path));
        File.WriteAllBytes(path, []);
        Refuses(path, "less than one block");
        File.WriteAllBytes(path, new byte[1000]);
        Refuses(path, "not a multiple of its block size");
        Assert.Equal(1000, new FileInfo(path).Length);
    }

    /// <summary>Nobody writes to it: whoever opened it in the ordinary way would wait for ever.</summary>
    [Fact]
    public void AFifoIsRefusedWithoutBeingOpened()
    {
        using var files = new TemporaryFiles();
        string path = files.NewPath();
        using (var made = System.Diagnostics.Process.Start("mkfifo", [path]))
        {
            made.WaitForExit();
            Assert.Equal(0, made.ExitCode);
        }

        Refuses(path, "neither a file nor a block device");
        Refuses(path, "neither a file nor a block device", readOnly: true);
        DriveException e = Assert.Throws<DriveException>(() => DriveReader.Open(path));
        Assert.Contains("neither a file", e.Message, StringComparison.Ordinal);
        Assert.Null(DriveReader.IdentityOf(path));
    }

    [Fact]
    public async Task ADriveIsReadWithoutBeingTakenAndHasOneIdentity()
    {
        using var files = new TemporaryFiles();
        string path = files.NewPath(), link = files.NewPath();
        File.WriteAllBytes(path, [1, 2, 3]);
        File.CreateSymbolicLink(link, path);
        using var locked = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None);
        using DriveReader reader = DriveReader.Open(link);
        Assert.Equal(3, reader.SizeBytes);
        var bytes = new byte[8];
        Assert.Equal(2, await reader.ReadAsync(1, bytes, CancellationToken.None));
        Assert.Equal([2, 3], bytes[..2]);
        Assert.Equal(DriveReader.IdentityOf(path), DriveReader.IdentityOf(link));
        Assert.NotEqual(DriveReader.IdentityOf(path), DriveReader.IdentityOf(files.NewPath()));
    }

    [Fact]
    public async Task OneWriterOrManyReaders()
    {
        using var files = new TemporaryFiles();
        string path = files.NewPath();
        await using (IBlockDevice writer = Open($"file:{path},size=1MiB"))
        {
            Refuses(path, "another process uses it");
            Refuses(path, "another process uses it", readOnly: true);
        }

        await using IBlockDevice reader = DriveFactory.Open(DriveSpec.Parse(path), readOnly: true);
        await using IBlockDevice second = DriveFactory.Open(DriveSpec.Parse(path), readOnly: true);
        Refuses(path, "another process uses it");
    }

    [Theory]
    [InlineData("ram:1MiB")]
    [InlineData("null:1MiB")]
    [InlineData("sim:1MiB")]
    [InlineData("file:/dev/shm/polyblk-test-{0}.img,size=1MiB")]
    [InlineData("file:/tmp/polyblk-test-{0}.img,size=1MiB")]
    public async Task BadRequestsGetTheirErrors(string text)
    {
        using var files = new TemporaryFiles();
        using var fixture = new ReactorFixture();
        DriveSpec spec = files.Parse(text);
        await using (IBlockDevice drive = DriveFactory.Open(spec))
        {
            await using RequestDriver driver = await RequestDriver.OpenAsync(drive, fixture.Reactor);
            Assert.Equal(-Errno.EINVAL, (await driver.ReadAsync(drive.SizeBytes, 512)).Status);
            Assert.Equal(-Errno.EINVAL, (await driver.ReadAsync(drive.SizeBytes - 512, 1024)).Status);
            Assert.Equal(-Errno.EINVAL, (await driver.ReadAsync(-512, 512)).Status);
            Assert.Equal(-Errno.EINVAL, (await driver.ReadAsync(1, 512)).Status);
            Assert.Equal(-Errno.EINVAL, await driver.WriteAsync(0, new byte[100]));
            Assert.Equal(-Errno.EINVAL, await driver.DiscardAsync(0, long.MaxValue & ~511));
            Assert.Equal(-Errno.EINVAL, await driver.WriteZeroesAsync(512, drive.SizeBytes));
            Assert.Equal(-Errno.EOPNOTSUPP, await driver.SubmitAsync((BlockOperation)9, 0, 512, BlockFlags.None, null));
            Assert.Equal(0, (await driver.ReadAsync(drive.SizeBytes - 512, 512)).Status);
        }

        await using IBlockDevice readOnly = DriveFactory.Open(spec, readOnly: true);
        Assert.True(readOnly.Limits.ReadOnly);
        await using RequestDriver reader = await RequestDriver.OpenAsync(readOnly, fixture.Reactor);
        Assert.Equal(-Errno.EROFS, await reader.WriteAsync(0, new byte[512]));
        Assert.Equal(-Errno.EROFS, await reader.DiscardAsync(0, 512));
        Assert.Equal(-Errno.EROFS, await reader.WriteZeroesAsync(0, 512));
        Assert.Equal(0, await reader.FlushAsync());
        Assert.Equal(0, (await reader.ReadAsync(0, 512)).Status);
    }

    [Theory]
    [InlineData("/dev/shm", 256u)]
    [InlineData("/tmp", 256u)]
    [InlineData("/tmp", 0u)]
    public async Task AFileThatShrankGivesAnErrorAndNoStaleData(string directory, uint ringEntries)
    {
        using var files = new TemporaryFiles();
        using var fixture = new ReactorFixture(ringEntries: ringEntries);
        string path = files.NewPath(directory);
        await using var drive = (FileDrive)Open($"file:{path},size=1MiB");
        await using RequestDriver driver = await RequestDriver.OpenAsync(drive, fixture.Reactor);
        Truncate(path, 4096);
        Assert.Equal(-Errno.EIO, (await driver.ReadAsync(65536, 4096)).Status);
        Assert.Equal(-Errno.EIO, (await driver.ReadAsync(0, 65536)).Status);
        Assert.Contains("shrunk", (await Assert.ThrowsAsync<DriveException>(drive.RefreshSizeAsync)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AGrownFileIsNoticedAndUsable()
    {
        using var files = new TemporaryFiles();
        string path = files.NewPath();
        await DriveGrowth.CheckAsync($"file:{path},size=1MiB", bytes => Truncate(path, bytes));
    }

    [Theory]
    [InlineData("disk")]
    [InlineData("disk/disk1")]
    public void ThePartitionsQueueIsThatOfItsDisk(string device)
    {
        // As in sysfs: the directory of the numbers holds links to the devices, and a partition lies in its disk.
        string root = Directory.CreateTempSubdirectory("polyblk-sysfs-").FullName;
        try
        {
            string queue = Directory.CreateDirectory(Path.Combine(root, "block/disk/queue")).FullName;
            string target = Directory.CreateDirectory(Path.Combine(root, "block", device)).FullName;
            string link = Path.Combine(Directory.CreateDirectory(Path.Combine(root, "dev")).FullName, "8:1");
            Directory.CreateSymbolicLink(link, target);
            Assert.Equal(queue, DriveFile.FindQueue(link));
        }
        finally
        {
            Directory.Delete(root, recursive: true);
        }
    }

    [Fact]
    public async Task ControlPathsReadAndWriteInPieces()
    {
        using var fixture = new ReactorFixture();
        await using var drive = new SimulatedDrive(8 << 20, new SimulatedDriveOptions { LogicalBlockSize = 4096 });
        var data = new byte[(3 << 20) + 4096];
        new Random(1).NextBytes(data);
        await BlockIo.WriteAsync(drive, fixture.Reactor, 4096, data, BlockFlags.Fua);
        await BlockIo.FlushAsync(drive, fixture.Reactor);
        var found = new byte[data.Length];
        await BlockIo.ReadAsync(drive, fixture.Reactor, 4096, found);
        Assert.Equal(data, found);
        drive.AddFault(new DriveFault { Operation = BlockOperation.Read, OffsetBytes = 2 << 20, LengthBytes = 4096, Errno = Errno.EREMOTEIO });
        BlockIoException e = await Assert.ThrowsAsync<BlockIoException>(() => BlockIo.ReadAsync(drive, fixture.Reactor, 4096, found));
        Assert.Equal(Errno.EREMOTEIO, e.Errno);
        Assert.Contains("sim:8MiB", e.Message, StringComparison.Ordinal);
    }

    /// <summary>Changes the size by system call: a FileStream would first ask for the lock that the drive holds.</summary>
    private static void Truncate(string path, long bytes)
    {
        int fd = Libc.open(path, Libc.O_RDWR | Libc.O_CLOEXEC);
        Assert.True(fd >= 0);
        Assert.Equal(0, Libc.ftruncate(fd, bytes));
        Assert.Equal(0, Libc.close(fd));
    }

    private static IBlockDevice Open(string text) => DriveFactory.Open(DriveSpec.Parse(text));

    /// <summary>
    /// What a drive that hangs has may come to its end after everything else: until then the descriptor's number must not be
    /// another file's, nor the drive another one's.
    /// </summary>
    [Theory]
    [InlineData(0)]
    [InlineData(16)]
    public async Task AQueueKeepsItsFileBeyondTheDrive(uint ringEntries)
    {
        using var files = new TemporaryFiles();
        using var fixture = new ReactorFixture(ringEntries: ringEntries);
        string path = files.NewPath("/tmp");
        IBlockDevice drive = Open($"file:{path},size=1MiB");
        RequestDriver driver = await RequestDriver.OpenAsync(drive, fixture.Reactor);
        await drive.DisposeAsync();
        Refuses(path, "another process uses it");
        byte[] data = [.. Enumerable.Range(0, 4096).Select(i => (byte)i)];
        Assert.Equal(0, await driver.WriteAsync(4096, data));
        await driver.DisposeAsync();
        await using IBlockDevice again = Open(path);
        await using RequestDriver reader = await RequestDriver.OpenAsync(again, fixture.Reactor);
        Assert.Equal(data, await reader.ReadOrThrowAsync(4096, data.Length));
    }

    private static void Refuses(string text, string expected, bool readOnly = false)
    {
        DriveException e = Assert.Throws<DriveException>(() => DriveFactory.Open(DriveSpec.Parse(text), readOnly));
        Assert.Contains(expected, e.Message, StringComparison.Ordinal);
    }
}
