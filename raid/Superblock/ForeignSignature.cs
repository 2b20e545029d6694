// Finds out whether a drive holds something already: a file system, another array, a partition table, a disk image.
//
// Theory of operation: every format puts a magic number at known places. The head of the drive, its tail and the few places
// between where formats keep copies are read through a callback, and checks look at them. A hit is enough for a refusal, so the
// checks are generous where a format is; the few formats with short magics (MBR, FAT, ext) are checked for more than the magic.
// Every place is reported, not only the first, since each copy that stays could bring the old content back: udev, mdadm, zpool
// and btrfs all fall back to copies. What a drive holds in its first MiB without being recognised is a finding too: nobody's
// format list is complete. Offsets and magics are from the formats' own descriptions, <linux/magic.h> and what libblkid
// documents.

using System.Buffers;
using System.Buffers.Binary;

namespace Polyblk.Raid.Superblock;

/// <summary>Something found on a drive.</summary>
/// <param name="Name">What it is, for people: "ext4 file system".</param>
/// <param name="Offset">Where its signature is, in bytes.</param>
/// <param name="IsPart">Whether the drive is a part of something that others put together: an array, a volume group, an encrypted
/// volume.</param>
public readonly record struct ForeignSignature(string Name, long Offset, bool IsPart = false)
{
    /// <summary>
    /// First byte of what has to be erased so that the format's own tools find nothing here any more; a multiple of 4096.
    /// </summary>
    public long WipeOffset { get; init; } = Offset & ~4095L;

    /// <summary>Bytes to be erased from <see cref="WipeOffset"/>, a multiple of 4096; the drive may end before.</summary>
    public int WipeBytes { get; init; } = 4096;
}

/// <summary>Reads <paramref name="buffer"/> in full from a drive; throws an <see cref="IOException"/> when it cannot.</summary>
/// <param name="offset">The byte offset, a multiple of 4096.</param>
/// <param name="buffer">What to fill.</param>
public delegate void SignatureReader(long offset, Span<byte> buffer);

/// <summary>Detects what a drive holds.</summary>
public static partial class ForeignSignatures
{
    /// <summary>The head that has to be zero unless something in it is recognised, in bytes.</summary>
    public const int BlankHeadBytes = 1 << 20;

    private const int HeadBytes = BlankHeadBytes + (64 << 10);

    // Promise's metadata may lie 3087 sectors before the end; everything else at the end lies in the last 768 KiB.
    private const int TailBytes = 2 << 20;
    private const int PlaceBytes = 4096;

    /// <summary>
    /// Where formats keep copies between head and tail: 2 MiB (VMFS, LUKS2, bcachefs), 4 MiB (LUKS2), 64 MiB, 256 GiB and 1 PiB
    /// (btrfs), 1, 10, 100 and 1000 GiB (BlueStore).
    /// </summary>
    private static readonly long[] s_copies =
        [2L << 20, 4L << 20, 64L << 20, 1L << 30, 10L << 30, 100L << 30, 256L << 30, 1000L << 30, 1L << 50];

    /// <summary>Everything found, in order of the checks; empty when the drive seems unused.</summary>
    /// <param name="size">The drive's size in bytes.</param>
    /// <param name="read">Reads from the drive.</param>
    public static IReadOnlyList<ForeignSignature> Detect(long size, SignatureReader read)
    {
        ArgumentNullException.ThrowIfNull(read);
        return DetectAsync(size, (offset, buffer) =>
        {
            read(offset, buffer.Span);
            return Task.CompletedTask;
        }).GetAwaiter().GetResult();
    }

    /// <summary>As <see cref="Detect"/>, for drives that are read asynchronously.</summary>
    /// <param name="size">The drive's size in bytes.</param>
    /// <param name="read">Reads from the drive: see <see cref="SignatureReader"/>.</param>
    public static async Task<IReadOnlyList<ForeignSignature>> DetectAsync(long size, Func<long, Memory<byte>, Task> read)
    {
        ArgumentNullException.ThrowIfNull(read);
        using var view = new DriveView(size);

        // The tail begins on a page boundary, for drives that are read with O_DIRECT. Of a small drive head and tail are one.
        long tail = Math.Max(0, (size - TailBytes) & ~4095L);
        await view.LoadAsync(0, tail > HeadBytes ? HeadBytes : (int)size, read);
        await view.LoadAsync(tail, TailBytes + 4096, read);
        foreach (long place in s_copies.Concat(AnnouncedCopies(view)).Where(p => p < size))
        {
            await view.LoadAsync(place & ~4095L, PlaceBytes, read);
        }

        var found = new List<ForeignSignature>();
        DetectFileSystems(view, found);
        DetectVolumes(view, found);
        DetectArrays(view, found);
        DetectFirmwareArrays(view, found);
        DetectPartitions(view, found);
        if (!found.Exists(f => f.Offset < BlankHeadBytes) && view.FirstUsed(BlankHeadBytes) is long used)
        {
            found.Add(new ForeignSignature($"data that is not recognised, from byte {used} on", used));
        }

        return found;
    }

    /// <summary>What the drive is read through; what was not read reads as zeroes.</summary>
    private sealed class DriveView(long size) : IDisposable
    {
        // Rented: some 3 MiB for each drive that is looked at.
        private readonly List<(long Offset, int Length, byte[] Bytes)> _windows = [];

        public long Size => size;

        /// <summary>Reads a window, as far as the drive goes. Windows that are there already are not read again.</summary>
        public async Task LoadAsync(long offset, int length, Func<long, Memory<byte>, Task> read)
        {
            int bytes = (int)Math.Min(length, size - offset);
            if (bytes > 0 && At(offset, bytes).IsEmpty)
            {
                byte[] window = ArrayPool<byte>.Shared.Rent(bytes);
                _windows.Add((offset, bytes, window));
                await read(offset, window.AsMemory(0, bytes));
            }
        }

        public void Dispose()
        {
            foreach ((_, _, byte[] bytes) in _windows)
            {
                ArrayPool<byte>.Shared.Return(bytes);
            }

            _windows.Clear();
        }

        public bool Has(long offset, ReadOnlySpan<byte> magic) => At(offset, magic.Length).SequenceEqual(magic);

        public ushort U16(long offset) => At(offset, 2) is { IsEmpty: false } b ? BinaryPrimitives.ReadUInt16LittleEndian(b) : (ushort)0;

        public uint U32(long offset) => At(offset, 4) is { IsEmpty: false } b ? BinaryPrimitives.ReadUInt32LittleEndian(b) : 0;

        public uint U32BigEndian(long offset) => BinaryPrimitives.ReverseEndianness(U32(offset));

        public ulong U64(long offset) => At(offset, 8) is { IsEmpty: false } b ? BinaryPrimitives.ReadUInt64LittleEndian(b) : 0;

        /// <summary>The first byte of the head that is not zero, or null.</summary>
        public long? FirstUsed(int headBytes)
        {
            ReadOnlySpan<byte> head = At(0, (int)Math.Min(headBytes, size));
            int used = head.IndexOfAnyExcept((byte)0);
            return used < 0 ? null : used;
        }

        /// <summary>The bytes, or none where they were not read.</summary>
        public ReadOnlySpan<byte> At(long offset, int length)
        {
            foreach ((long start, int had, byte[] bytes) in _windows)
            {
                if (offset >= start && offset + length <= start + had)
                {
                    return bytes.AsSpan((int)(offset - start), length);
                }
            }

            return default;
        }
    }
}
