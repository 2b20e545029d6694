// What a forced create leaves for the tools of others: blkid and wipefs look at the drives afterwards, as udev would.

using System.Buffers.Binary;
using System.Diagnostics;
using System.Text;
using System.Text.Json;
using Polyblk.Host;
using SystemProcess = System.Diagnostics.Process;

namespace Polyblk.Cli.Process.Tests;

public sealed class WipeTests : IDisposable
{
    private const long Size = (96L << 20) + (12 << 10);

    private readonly PolyblkSandbox _sandbox = new();

    public void Dispose() => _sandbox.Dispose();

    /// <summary>Drives that many formats have in common, each copy where its format keeps it, three drives at a time.</summary>
    [Fact]
    public void AForcedCreateLeavesNothingForBlkidAndWipefs()
    {
        Action<FileStream>[] contents =
        [
            file => MkfsBelow(file, "mkfs.ext4", "-q", "-F"),
            file =>
            {
                MkfsBelow(file, "mkswap");
                PutMd(file, (Size & ~4095L) - 8192);
            },
            file => PutMd(file, 4096),
            file => PutMd(file, 0),
            file => Put(file, (Size & ~65535L) - 65536, Convert.FromHexString("FC4E2BA9000000005A000000")),
            PutZfsAtTheEnd,
            file => Put(file, Size - 512, Convert.FromHexString("DE11DE11")),
            file => Put(file, Size - 1024, Encoding.ASCII.GetBytes("Intel Raid ISM Cfg Sig. 1.1.00")),
            file => Put(file, Size - 63 * 512, Encoding.ASCII.GetBytes("Promise Technology, Inc.")),
            file => Put(file, Size - 4096 + 60, Convert.FromHexString("8374026B")),
            file => Put(file, 2 << 20, Convert.FromHexString("5EF1AB2F")),
            file => Put(file, 0, Encoding.ASCII.GetBytes("bluestore block device\n")),
            file => Put(file, 0, Convert.FromHexString("4C554B53BABE0001")),
            PutSecondLuksHeader,
        ];
        string[] drives = [.. contents.Select((_, i) => _sandbox.PathOf($"{i}.img"))];
        foreach ((Action<FileStream> fill, string drive) in contents.Zip(drives))
        {
            using FileStream file = File.Create(drive);
            file.SetLength(Size);
            fill(file);
        }

        Assert.All(drives, d => Assert.NotEmpty(Wipefs(d)));
        RunOutput refused = _sandbox.Run(["volume", "create", "new", "--level", "raid5", .. drives]);
        Assert.Equal(4, refused.ExitCode);
        Assert.All(drives, d => Assert.NotEmpty(Wipefs(d)));

        _sandbox.Must(["volume", "create", "new", "--level", "raid5", "--force", .. drives]);
        foreach (string drive in drives)
        {
            (int code, string found) = Run("blkid", "-p", drive);
            Assert.True(code == 2 && found.Length == 0, $"blkid -p still finds something: {found}");
            Assert.Empty(Wipefs(drive));
        }

        JsonElement array = _sandbox.Must("volume", "show", "new", "--json").Json.GetProperty("array");
        Assert.Equal("dirty", array.GetProperty("health").GetString());
    }

    /// <summary>btrfs repairs itself from its copies at 64 MiB and 256 GiB; blkid looks at the first alone.</summary>
    [Fact]
    public void CopiesThatBlkidDoesNotLookAtAreErasedToo()
    {
        const long huge = (256L << 30) + (1 << 20);
        (long Offset, string Magic)[] copies =
            [((64L << 20) + 64, "_BHRfS_M"), ((256L << 30) + 64, "_BHRfS_M"), (1L << 30, "bluestore block device")];
        string[] drives = [_sandbox.PathOf("a.img"), _sandbox.PathOf("b.img")];
        foreach (string drive in drives)
        {
            using FileStream file = File.Create(drive);
            file.SetLength(huge);
            Array.ForEach(copies, c => Put(file, c.Offset, Encoding.ASCII.GetBytes(c.Magic)));
        }

        Assert.Equal(4, _sandbox.Run(["volume", "create", "new", "--level", "raid1", .. drives]).ExitCode);
        _sandbox.Must(["volume", "create", "new", "--level", "raid1", "--force", .. drives]);
        foreach (string drive in drives)
        {
            using FileStream file = File.OpenRead(drive);
            foreach ((long offset, string magic) in copies)
            {
                var left = new byte[magic.Length];
                file.Position = offset;
                file.ReadExactly(left);
                Assert.All(left, b => Assert.Equal(0, b));
            }
        }
    }

    [Fact]
    public void DataThatIsNotRecognisedNeedsForce()
    {
        string[] drives = [_sandbox.PathOf("a.img"), _sandbox.PathOf("b.img")];
        foreach (string drive in drives)
        {
            using FileStream file = File.Create(drive);
            file.SetLength(Size);
            Put(file, 99_999, [1]);
        }

        RunOutput refused = _sandbox.Run(["volume", "create", "new", "--level", "raid1", .. drives]);
        Assert.Equal(4, refused.ExitCode);
        Assert.Contains("not recognised, from byte 99999 on", refused.Errors, StringComparison.Ordinal);
        Assert.Contains("--force", refused.Errors, StringComparison.Ordinal);
        _sandbox.Must(["volume", "create", "new", "--level", "raid1", "--force", .. drives]);
    }

    private static void Put(FileStream file, long offset, byte[] bytes)
    {
        file.Position = offset;
        file.Write(bytes);
        file.Flush();
    }

    /// <summary>md 1.x: the magic, the major version, and at byte 144 where the superblock itself is, in sectors.</summary>
    private static void PutMd(FileStream file, long offset)
    {
        var superblock = new byte[256];
        Convert.FromHexString("FC4E2BA901000000").CopyTo(superblock, 0);
        superblock[16] = 7;
        BinaryPrimitives.WriteInt64LittleEndian(superblock.AsSpan(144), offset / 512);
        Put(file, offset, superblock);
    }

    /// <summary>The third and the fourth label, each with some uberblocks.</summary>
    private static void PutZfsAtTheEnd(FileStream file)
    {
        const int label = 256 << 10;
        long aligned = Size & ~(label - 1L);
        foreach (long start in (long[])[aligned - 2 * label, aligned - label])
        {
            for (int i = 4; i < 12; i++)
            {
                Put(file, start + (128 << 10) + i * 1024, [0x0C, 0xB1, 0xBA, 0, 0, 0, 0, 0]);
            }
        }
    }

    /// <summary>The second header of LUKS2, without the first: version 2, and at byte 256 its own place.</summary>
    private static void PutSecondLuksHeader(FileStream file)
    {
        var header = new byte[4096];
        Convert.FromHexString("534B554CBABE0002").CopyTo(header, 0);
        BinaryPrimitives.WriteInt64BigEndian(header.AsSpan(256), 0x4000);
        Put(file, 0x4000, header);
    }

    private static void MkfsBelow(FileStream file, string program, params string[] arguments)
    {
        (int code, string output) = Run(program, [.. arguments, file.Name]);
        Assert.True(code == 0, output);
    }

    private static string Wipefs(string drive)
    {
        (int code, string output) = Run("wipefs", "--noheadings", drive);
        Assert.True(code == 0, output);
        return output;
    }

    private static (int Code, string Output) Run(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["PATH"] = $"{Environment.GetEnvironmentVariable("PATH")}:/usr/sbin:/sbin";
        using SystemProcess process = SystemProcess.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, program is "blkid" or "wipefs" ? output : output + errors.Result);
    }
}
