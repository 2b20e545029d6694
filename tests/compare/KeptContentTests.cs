using Polyblk.Compare.Load;
using Polyblk.Compare.Load.Fio;
using Polyblk.Compare.Workloads;

namespace Polyblk.Compare.Tests;

/// <summary>The sample by which a content that must stay is verified, and what is kept away from it.</summary>
public class KeptContentTests
{
    private const int MiB = 1 << 20;

    [Fact]
    public async Task A_small_content_is_sampled_to_its_last_block_and_any_change_is_found()
    {
        byte[] content = Content((3 * MiB) + 8192);
        KeptContent kept = await KeptContent.TakeAsync(content.Length, "because", From(content), CancellationToken.None);
        Assert.Null(await kept.CompareAsync(From(content), CancellationToken.None));
        foreach (int at in new[] { 0, MiB - 1, MiB, (2 * MiB) + 77, content.Length - 1 })
        {
            content[at] ^= 1;
            Assert.Contains($"at {at / MiB * MiB} ", await kept.CompareAsync(From(content), CancellationToken.None), StringComparison.Ordinal);
            content[at] ^= 1;
        }
    }

    [Fact]
    public async Task A_large_content_is_sampled_at_both_ends_and_between_and_never_read_outside()
    {
        const long Size = (5L << 40) + (3 << 20) + 4096;
        var offsets = new List<(long Offset, int Length)>();
        Task Note(long offset, Memory<byte> buffer)
        {
            offsets.Add((offset, buffer.Length));
            return Task.CompletedTask;
        }

        KeptContent kept = await KeptContent.TakeAsync(Size, "because", Note, CancellationToken.None);
        Assert.Equal(64, offsets.Count);
        Assert.Equal(0, offsets[0].Offset);
        Assert.Equal(Size, offsets[^1].Offset + offsets[^1].Length);
        Assert.All(offsets, o => Assert.True(o.Offset % MiB == 0 && o.Length % 4096 == 0 && o.Offset + o.Length <= Size));
        Assert.Contains(offsets, o => o.Offset > Size / 4 && o.Offset < Size * 3 / 4);

        (long Offset, int Length)[] first = [.. offsets];
        offsets.Clear();
        Assert.Null(await kept.CompareAsync(Note, CancellationToken.None));
        Assert.Equal(first, offsets);
    }

    [Fact]
    public async Task What_writes_or_formats_is_kept_away_from_it_and_reads_are_not()
    {
        LoadEndpoint free = new BlockEndpoint("/dev/x", MiB);
        LoadEndpoint kept = free with { Kept = await KeptContent.TakeAsync(MiB, "it would be lost", From(Content(MiB)), CancellationToken.None) };
        Workload[] all = [.. Presets.Get("full", 2), .. Presets.Get("filesystem", 2)];
        Assert.All(all, w => Assert.Null(ILoadGenerator.WhyProtected(free, w)));
        Assert.All(all, w => Assert.Equal(w.IsWrite || w.FileSystem is not null ? "it would be lost" : null, ILoadGenerator.WhyProtected(kept, w)));
        Assert.Contains(all, w => ILoadGenerator.WhyProtected(kept, w) is null);
    }

    [Theory]
    [InlineData("[a]\nrw=randread\n", false)]
    [InlineData("[a]\nbs=4k\n", false)]
    [InlineData("[a]\nrw=randrw\n", true)]
    [InlineData("[a]\nreadwrite=write\n", true)]
    [InlineData("[a]\nrw=read\n[b]\nrw=randtrim\n", true)]
    [InlineData("[global]\nrw=randread\n[b]\n rw = trimwrite\n", true)]
    public void A_job_file_overwrites_when_any_of_its_jobs_does(string text, bool overwrites) =>
        Assert.Equal(overwrites, FioJobFile.Read("mine", text).Overwrites);

    [Fact]
    public void Fio_is_told_not_to_write_and_a_colon_in_a_path_is_no_end_of_it()
    {
        FioTarget target = FioTarget.Device("/dev/disk/by-path/pci-0000:00:1f.2", MiB) with { IsReadOnly = true };
        IReadOnlyList<string> arguments = FioJob.Arguments(Presets.Quick[0], target, new LoadSettings(TimeSpan.Zero, TimeSpan.FromSeconds(1), [], 1));
        Assert.Contains("--readonly", arguments);
        Assert.Contains(@"--filename=/dev/disk/by-path/pci-0000\:00\:1f.2", arguments);
    }

    private static byte[] Content(int bytes)
    {
        byte[] content = new byte[bytes];
        new Random(3).NextBytes(content);
        return content;
    }

    private static ReadAt From(byte[] content) => (offset, buffer) =>
    {
        content.AsSpan((int)offset, buffer.Length).CopyTo(buffer.Span);
        return Task.CompletedTask;
    };
}
