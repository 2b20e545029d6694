// Guest memory: translation, and mappings of files that are not what they should be.

using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Fakes;
using Polyblk.Virtio.Memory;

namespace Polyblk.Virtio.Tests;

public sealed unsafe class MemoryTests
{
    [Fact]
    public void TranslatesLikeAByteMap()
    {
        const int Seed = 5;
        var random = new Random(Seed);
        using MappedRegion a = MappedRegion.CreateAnonymous(0x3b10);
        using MappedRegion b = MappedRegion.CreateAnonymous(0x100);
        using MappedRegion c = MappedRegion.CreateAnonymous(0x2000);
        (ulong Guest, MappedRegion Region)[] regions = [(0x1000, a), (0x4b10, b), (0x5000, c)];
        using var memory = new GuestMemory([.. regions.Select(r => new GuestRegion(r.Guest, r.Guest + 0x7000_0000, r.Region))]);
        MemoryWindow window = default;
        IoVec* vectors = stackalloc IoVec[4];
        for (int i = 0; i < 20_000; i++)
        {
            ulong address = (ulong)random.Next(0x800, 0x7800);
            var length = (uint)random.Next(0, 0x3000);
            int count = memory.Translate(ref window, address, length, MapAccess.Read, vectors, 4);
            ulong at = address;
            for (int v = 0; v < count; v++)
            {
                Assert.Equal((nint)HostOf(regions, at), (nint)vectors[v].Base);
                Assert.Equal((nint)HostOf(regions, at + vectors[v].Length - 1), (nint)(vectors[v].Base + vectors[v].Length - 1));
                at += vectors[v].Length;
            }

            bool mapped = true;
            for (ulong each = address; each < address + length && mapped; each += 0x10)
            {
                mapped = HostOf(regions, each) != null;
            }

            mapped = mapped && (length == 0 || HostOf(regions, address + length - 1) != null);
            Assert.True(mapped == count >= 0, $"seed {Seed}: {address:x} + {length:x}");
            Assert.True(count < 0 || at == address + length);
            Assert.True(count >= 0 || (window.Missing >= address && window.Missing < address + length && HostOf(regions, window.Missing) == null));
        }
    }

    [Fact]
    public void SaysWhenSegmentsDoNotFit()
    {
        using MappedRegion a = MappedRegion.CreateAnonymous(4096);
        using MappedRegion b = MappedRegion.CreateAnonymous(4096);
        using var memory = new GuestMemory([new(0, 0, a), new(4096, 0, b)]);
        MemoryWindow window = default;
        IoVec vector;
        Assert.Equal(-Errno.ENOBUFS, memory.Translate(ref window, 4000, 200, MapAccess.Read, &vector, 1));
        Assert.Equal(-Errno.ENOBUFS, memory.Translate(ref window, 0, 200, MapAccess.Read, &vector, 0));
        Assert.Equal(1, memory.Translate(ref window, 0, 200, MapAccess.Read, &vector, 1));
    }

    [Fact]
    public void ReadOnlyMemoryIsNotWritten()
    {
        using SafeFileHandle file = MakeMemfd(8192, false);
        var readOnly = new MapOptions { Access = MapAccess.Read, Least = MapAccess.Read };
        using MappedRegion region = MappedRegion.Map(file, 0, 8192, readOnly);
        using var memory = new GuestMemory([new(0, 0, region)]);
        MemoryWindow window = default;
        IoVec vector;
        Assert.Equal(1, memory.Translate(ref window, 0, 10, MapAccess.Read, &vector, 1));
        Assert.Equal(-Errno.EFAULT, memory.Translate(ref window, 0, 10, MapAccess.Write, &vector, 1));
        Assert.True(memory.TranslateContiguous(0, 10) == null);
        Assert.True(memory.TranslateContiguous(0, 10, MapAccess.Read) != null);
        Assert.True(memory.TranslateUser(0, 10) == null);
    }

    [Fact]
    public void ContiguousRangesStayInARegion()
    {
        using MappedRegion a = MappedRegion.CreateAnonymous(4096);
        using MappedRegion b = MappedRegion.CreateAnonymous(4096);
        using var memory = new GuestMemory([new(0, 0x10000, a), new(4096, 0x11000, b)]);
        Assert.True(memory.TranslateContiguous(0, 4096) == a.Address);
        Assert.True(memory.TranslateContiguous(1, 4096) == null);
        Assert.True(memory.TranslateContiguous(4096, ulong.MaxValue) == null);
        Assert.True(memory.TranslateUser(0x11008, 4088) == b.Address + 8);
        Assert.True(memory.TranslateUser(0x11008, 4089) == null);
        Assert.True(memory.TryGetGuestAddress(b.Address + 5, out ulong guest));
        Assert.Equal(4101UL, guest);
        Assert.False(memory.TryGetGuestAddress((byte*)16, out _));
    }

    [Fact]
    public void RegionsThatOverlapOrWrapAreRefused()
    {
        using MappedRegion a = MappedRegion.CreateAnonymous(8192);
        Assert.Throws<ArgumentException>(() => new GuestMemory([new(0, 0, a), new(4096, 0, a)]));
        Assert.Throws<ArgumentException>(() => new GuestMemory([new(ulong.MaxValue - 4095, 0, a)]));
        Assert.Throws<ArgumentException>(() => new GuestMemory([new(0, ulong.MaxValue - 4095, a)]));
        using var neighbours = new GuestMemory([new(8192, 0, a), new(0, 0, a)]);
        Assert.Equal(16384UL, neighbours.SizeBytes);
    }

    [Fact]
    public void AMappingLivesAsLongAsItsLastUser()
    {
        MappedRegion region = MappedRegion.CreateAnonymous(4096);
        var first = new GuestMemory([new(0, 0, region)]);
        var second = new GuestMemory([new(0, 0, region)]);
        region.Dispose();
        region.Dispose();
        first.AddReference();
        first.Dispose();
        second.Dispose();
        Assert.True(region.IsMapped);
        first.Release();
        Assert.False(region.IsMapped);
        Assert.Throws<ObjectDisposedException>(region.AddReference);
        Assert.Throws<ObjectDisposedException>(first.AddReference);
    }

    [Theory]
    [InlineData(0x3b10, 0, 0x3b10)]
    [InlineData(0x7620, 0x1234, 0x7620 - 0x1234)]
    [InlineData(8192, 4096, 1)]
    public void MapsAnyOffsetAndSize(int fileBytes, int offset, int size)
    {
        using SafeFileHandle file = MakeMemfd(fileBytes, false);
        using MappedRegion region = MappedRegion.Map(file, (ulong)offset, (ulong)size);
        region.Address[0] = 7;
        region.Address[size - 1] = 9;
        var read = new byte[1];
        RandomAccess.Read(file, read, offset + size - 1);
        Assert.Equal(9, read[0]);
        Assert.False(region.CannotShrink);
    }

    [Theory]
    [InlineData(0UL, 8193UL)]
    [InlineData(4096UL, 4097UL)]
    [InlineData(0UL, 0UL)]
    [InlineData(ulong.MaxValue, 4096UL)]
    [InlineData(4096UL, ulong.MaxValue)]
    public void AFileThatIsTooShortIsRefused(ulong offset, ulong size)
    {
        using SafeFileHandle file = MakeMemfd(8192, false);
        Assert.Throws<IOException>(() => MappedRegion.Map(file, offset, size));
    }

    [Fact]
    public void WhatIsNoFileIsRefused()
    {
        using var eventFd = new SafeFileHandle(Libc.eventfd(0, Libc.EFD_CLOEXEC), true);
        Assert.Throws<IOException>(() => MappedRegion.Map(eventFd, 0, 4096));
    }

    /// <summary>A memfd that allows it is sealed, so that nobody can make it shorter and the process fault.</summary>
    [Fact]
    public void ASealableMemfdCannotBeTruncatedAfterwards()
    {
        using SafeFileHandle file = MakeMemfd(8192, true);
        using MappedRegion region = MappedRegion.Map(file, 0, 8192);
        Assert.True(region.CannotShrink);
        Assert.Equal(-Errno.EPERM, Libc.ftruncate((int)file.DangerousGetHandle(), 4096));
        region.Address[8191] = 1;
    }

    /// <summary>
    /// Where it cannot be sealed and its owner makes it shorter, what has gone reads as zeroes, writes go nowhere, the owner of
    /// the mapping is told once, and neither the process nor another mapping is harmed. Without the guard this test ends the test
    /// program.
    /// </summary>
    [Fact]
    public void MemoryThatIsTakenAwayIsReportedAndDoesNotEndTheProcess()
    {
        const int Bytes = 64 << 10;
        using SafeFileHandle file = MakeMemfd(Bytes, false);
        using SafeFileHandle other = MakeMemfd(Bytes, false);
        using var told = new SemaphoreSlim(0);
        using MappedRegion neighbour = MappedRegion.Map(
            other, 0, Bytes, new MapOptions { OnLost = () => throw new InvalidOperationException("Nothing is lost here.") });
        using (MappedRegion region = MappedRegion.Map(file, 0, Bytes, new MapOptions { OnLost = () => told.Release() }))
        {
            new Span<byte>(region.Address, Bytes).Fill(7);
            neighbour.Address[Bytes - 1] = 9;
            Assert.Equal(0, Libc.ftruncate((int)file.DangerousGetHandle(), 8192));
            Assert.False(region.HasLost);

            // In managed code, in copies of the runtime's, and on several threads.
            Assert.Equal(7, region.Address[8191]);
            Assert.Equal(0, region.Address[8192]);
            byte[] copy = new byte[Bytes];
            Parallel.For(0, 8, _ => new ReadOnlySpan<byte>(region.Address, Bytes).CopyTo(new byte[Bytes]));
            new ReadOnlySpan<byte>(region.Address, Bytes).CopyTo(copy);
            Assert.Equal(8192, copy.Count(b => b == 7));
            Assert.Equal(Bytes - 8192, copy.Count(b => b == 0));
            region.Address[Bytes - 1] = 1;

            Assert.True(region.HasLost);
            Assert.False(neighbour.HasLost);
            Assert.True(told.Wait(TimeSpan.FromSeconds(30)));
            Assert.Equal(0, told.CurrentCount);
        }

        // The slot is used again: nothing of what was before is left in it.
        using SafeFileHandle third = MakeMemfd(Bytes, false);
        using MappedRegion later = MappedRegion.Map(third, 0, Bytes);
        Assert.False(later.HasLost);
        Assert.Equal(9, neighbour.Address[Bytes - 1]);
    }

    /// <summary>A seal promises the length and no pages: huge pages of which there are none.</summary>
    [Fact]
    public void SealedHugePagesThatDoNotExistAreReportedAndDoNotEndTheProcess()
    {
        const uint MFD_HUGETLB = 4;
        const uint MFD_HUGE_2MB = 21u << 26;
        const ulong Bytes = 64UL << 20;
        using var file = new SafeFileHandle(
            Libc.memfd_create("test", Libc.MFD_CLOEXEC | Libc.MFD_ALLOW_SEALING | MFD_HUGETLB | MFD_HUGE_2MB), true);
        Assert.False(file.IsInvalid, "the kernel has no huge pages of 2 MiB");
        Assert.Equal(0, Libc.ftruncate((int)file.DangerousGetHandle(), (long)Bytes));
        using var told = new SemaphoreSlim(0);
        using MappedRegion region = MappedRegion.Map(file, 0, Bytes, new MapOptions { OnLost = () => told.Release() });
        Assert.True(region.CannotShrink);
        region.Address[12345] = 1;
        Assert.Equal(1, region.Address[12345]);

        // A machine may have some; the owner is told where it has not.
        Assert.True(!region.HasLost || told.Wait(TimeSpan.FromSeconds(30)));
    }

    /// <summary>
    /// What is touched of a lost range, in whatever order: it takes one map entry more, or else a guest would use up the
    /// process's.
    /// </summary>
    [Fact]
    public void ALostRangeTakesTwoMapEntriesAtMost()
    {
        const int Pages = 4096;
        using SafeFileHandle file = MakeMemfd(Pages * 4096, false);
        using MappedRegion region = MappedRegion.Map(file, 0, Pages * 4096);
        Assert.Equal(0, Libc.ftruncate((int)file.DangerousGetHandle(), 4096));
        for (int page = Pages - 1; page > 0; page -= 2)
        {
            region.Address[page * 4096] = 1;
        }

        for (int page = 2; page < Pages; page += 2)
        {
            region.Address[page * 4096] = 1;
        }

        nuint start = (nuint)region.Address;
        int entries = File.ReadLines("/proc/self/maps").Count(line =>
        {
            string[] ends = line.Split(' ')[0].Split('-');
            nuint first = nuint.Parse(ends[0], System.Globalization.NumberStyles.HexNumber);
            nuint end = nuint.Parse(ends[1], System.Globalization.NumberStyles.HexNumber);
            return first < start + (Pages * 4096) && end > start;
        });
        Assert.InRange(entries, 1, 2);
        Assert.True(region.HasLost);
        region.Address[0] = 7;
        var read = new byte[1];
        Assert.Equal(1, RandomAccess.Read(file, read, 0));
        Assert.Equal(7, read[0]);
    }

    [Fact]
    public void WhatMayOnlyBeReadIsMappedForReadingWhereThatIsEnough()
    {
        using SafeFileHandle writable = MakeMemfd(8192, true);
        using SafeFileHandle file = File.OpenHandle($"/proc/self/fd/{writable.DangerousGetHandle()}");
        Assert.True(ForeignMemory.IsReadOnly(file));
        Assert.False(ForeignMemory.IsReadOnly(writable));
        Assert.Throws<IOException>(() => MappedRegion.Map(file, 0, 8192));
        using MappedRegion region = MappedRegion.Map(file, 0, 8192, new MapOptions { Least = MapAccess.Read });
        Assert.Equal(MapAccess.Read, region.Access);
        Assert.Equal(0, region.Address[8191]);
        using var memory = new GuestMemory([new(0, 0x10000, region)]);
        MemoryWindow window = default;
        IoVec vector;
        Assert.Equal(1, memory.Translate(ref window, 0, 512, MapAccess.Read, &vector, 1));
        Assert.Equal(-Errno.EFAULT, memory.Translate(ref window, 0, 512, MapAccess.Write, &vector, 1));
        Assert.True(memory.TranslateUser(0x10000, 512) is null);
    }

    /// <summary>What a guest has in its memory, keys among it, is nobody's who may read a dump of this process.</summary>
    [Theory]
    [InlineData(MapAccess.ReadWrite)]
    [InlineData(MapAccess.Read)]
    public void MemoryOfGuestsIsInNoCoreDump(MapAccess access)
    {
        using SafeFileHandle writable = MakeMemfd(8192, true);
        FileAccess opened = access == MapAccess.Read ? FileAccess.Read : FileAccess.ReadWrite;
        using SafeFileHandle file = File.OpenHandle($"/proc/self/fd/{writable.DangerousGetHandle()}", FileMode.Open, opened);
        using MappedRegion region = MappedRegion.Map(file, 0, 8192, new MapOptions { Least = MapAccess.Read });
        Assert.Equal(access, region.Access);
        Assert.True(MappingFlags.IsLeftOutOfDumps(region.Address));
    }

    [Fact]
    public void WhatCannotBeReachedIsNeitherReadNorWritten()
    {
        using SafeFileHandle file = MakeMemfd(8192, true);
        using MappedRegion region = MappedRegion.CreateUnreachable(file, 0, 8192, isOneOfMany: false);
        using var memory = new GuestMemory([new(0, 0x10000, region)]);
        MemoryWindow window = default;
        IoVec vector;
        Assert.Equal(-Errno.EFAULT, memory.Translate(ref window, 0, 512, MapAccess.Read, &vector, 1));
        Assert.Equal(-Errno.EFAULT, memory.Translate(ref window, 0, 512, MapAccess.Write, &vector, 1));
        Assert.True(memory.TranslateContiguous(0, 1, MapAccess.Read) is null);
    }

    [Fact]
    public void MemoryIsTakenFromFileSystemsInMemoryOnly()
    {
        using SafeFileHandle memfd = MakeMemfd(4096, false);
        Assert.Null(ForeignMemory.WhyRefused(memfd));
        using SafeFileHandle proc = File.OpenHandle("/proc/self/status");
        string why = ForeignMemory.WhyRefused(proc)!;
        Assert.Contains("a file on proc,", why, StringComparison.Ordinal);
        Assert.Contains("memory-backend-memfd", why, StringComparison.Ordinal);
    }

    private static SafeFileHandle MakeMemfd(int bytes, bool sealable)
    {
        var file = new SafeFileHandle(Libc.memfd_create("test", Libc.MFD_CLOEXEC | (sealable ? Libc.MFD_ALLOW_SEALING : 0)), true);
        Assert.False(file.IsInvalid);
        Assert.Equal(0, Libc.ftruncate((int)file.DangerousGetHandle(), bytes));
        return file;
    }

    private static byte* HostOf((ulong Guest, MappedRegion Region)[] regions, ulong address)
    {
        foreach ((ulong guest, MappedRegion region) in regions)
        {
            if (address - guest < region.SizeBytes)
            {
                return region.Address + (address - guest);
            }
        }

        return null;
    }
}
