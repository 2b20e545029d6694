// Drives that held something else: what a forced create leaves on them.

using System.Text;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives.Ram;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class EraseTests : IAsyncDisposable
{
    private const int Size = 8 << 20;
    private const int MdMagicAtEnd = Size - 8192;
    private static readonly byte[] s_md = [0xFC, 0x4E, 0x2B, 0xA9];

    private readonly ReactorFixture _reactors = new(1, ringEntries: 0);

    private Reactor Reactor => _reactors.Reactor;

    public ValueTask DisposeAsync()
    {
        _reactors.Dispose();
        return ValueTask.CompletedTask;
    }

    [Fact]
    public async Task Everything_that_is_recognised_is_erased_and_other_data_stays()
    {
        await using RamDrive drive = new(Size, 512), other = new(Size, 512);
        await PutAsync(drive, 4096, s_md);
        await PutAsync(drive, MdMagicAtEnd, s_md);
        await PutAsync(drive, 1 << 20, [0x0D, 0xD0, 0x01, 0xC0]);
        await PutAsync(drive, 300_032, Encoding.ASCII.GetBytes("old"));
        await PutAsync(drive, 3 << 20, Encoding.ASCII.GetBytes("data of an array that may be made once more"));
        await (await CreateAsync(force: true, drive, other)).DisposeAsync();
        Assert.Equal(["polyblk array member"], (await FoundAsync(drive)).Select(f => f.Name).Distinct());
        var data = new byte[512];
        await BlockIo.ReadAsync(drive, Reactor, 3 << 20, data);
        Assert.StartsWith("data of an array", Encoding.ASCII.GetString(data), StringComparison.Ordinal);
        await BlockIo.ReadAsync(drive, Reactor, 300_032, data);
        Assert.True(data.AsSpan().IndexOfAnyExcept((byte)0) < 0, "The head is the array's own: nothing old stays in it.");
    }

    [Fact]
    public async Task Data_that_nobody_recognises_needs_force_too()
    {
        await using RamDrive drive = new(Size, 512), other = new(Size, 512);
        await PutAsync(drive, 70_144, Encoding.ASCII.GetBytes("precious"));
        ArrayException e = await Assert.ThrowsAsync<ArrayException>(() => CreateAsync(force: false, drive, other));
        Assert.Contains("data that is not recognised, from byte 70144 on", e.Message, StringComparison.Ordinal);
        Assert.Contains("--force", e.Message, StringComparison.Ordinal);
        var data = new byte[512];
        await BlockIo.ReadAsync(drive, Reactor, 70_144, data);
        Assert.StartsWith("precious", Encoding.ASCII.GetString(data), StringComparison.Ordinal);
        await (await CreateAsync(force: true, drive, other)).DisposeAsync();
    }

    [Fact]
    public async Task A_drive_that_still_holds_something_after_the_erasure_is_not_used()
    {
        await using RamDrive drive = new(Size, 512), other = new(Size, 512);
        await PutAsync(drive, MdMagicAtEnd, s_md);
        await using var deaf = new DeafDrive(drive);
        ArrayException e = await Assert.ThrowsAsync<ArrayException>(() => CreateAsync(force: true, deaf, other));
        Assert.Contains($"md RAID member (metadata 1.0) at byte {MdMagicAtEnd}", e.Message, StringComparison.Ordinal);
    }

    private Task<RaidArray> CreateAsync(bool force, params IBlockDevice[] drives) => ArrayBuilder.CreateAsync(
        new ArrayCreateOptions { Name = "new", Level = RaidLevel.Raid0, Force = force }, drives, Reactor);

    private Task<IReadOnlyList<ForeignSignature>> FoundAsync(IBlockDevice drive) =>
        ForeignSignatures.DetectAsync(drive.SizeBytes, (offset, buffer) => BlockIo.ReadAsync(drive, Reactor, offset, buffer));

    private Task PutAsync(IBlockDevice drive, long offset, byte[] bytes)
    {
        var block = new byte[512];
        bytes.CopyTo(block, 0);
        return BlockIo.WriteAsync(drive, Reactor, offset, block);
    }

    /// <summary>Says that it has written, and has not.</summary>
    private sealed class DeafDrive(IBlockDevice inner) : IBlockDevice
    {
        public event Action<IBlockDevice>? Resized
        {
            add { }
            remove { }
        }

        public string Name => inner.Name;

        public long SizeBytes => inner.SizeBytes;

        public BlockLimits Limits => inner.Limits;

        public IBlockQueue OpenQueue(Reactor reactor) => new Queue(inner.OpenQueue(reactor));

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;

        private sealed class Queue(IBlockQueue inner) : IBlockQueue
        {
            public void Submit(BlockRequest request)
            {
                if (request.Operation == BlockOperation.Write)
                {
                    request.Complete(0);
                }
                else
                {
                    inner.Submit(request);
                }
            }

            public void Dispose() => inner.Dispose();
        }
    }
}
