using Polyblk.Cli.CommandLine;
using Polyblk.Compare.Guest;
using Polyblk.Compare.Load;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Results;
using Polyblk.Machine;

namespace Polyblk.Cli.Tests;

/// <summary>The disks that a machine of the guest vantage gets.</summary>
public class CompareGuestMethodsTests
{
    private static readonly GuestMethod[] s_methods =
    [
        .. new CompareGuestMethods([], new PolyblkProgram(["polyblk"], _ => throw new InvalidOperationException()), "raid5", new CompareGuestRequest
        {
            Vantages = [Vantage.Guest], IsInside = false, Kernel = GuestKernel.Linux73, OwnKernel = null, OwnInitramfs = null, MemoryMib = 1024, Cpus = 4,
        }).All().Cast<GuestMethod>(),
    ];

    [Fact]
    public void EachHasItsOwnIdAndAPlaceOnTheBus()
    {
        Assert.Equal(
            [
                "nbd@guest", "qemu-file@guest", "qemu-storage-daemon-drive@guest", "ublk-host-device@guest", "vduse-vhost-vdpa@guest", "vhost-user-1q@guest", "vhost-user-4q@guest",
                "virtio-iothread-1t@guest", "virtio-iothread-4t@guest", "virtio-iothread-ublk-1t@guest", "virtio-iothread-ublk-4t@guest",
                "virtio-iothread-vduse-4t@guest",
            ],
            s_methods.Select(m => m.Facts.Id).Order(StringComparer.Ordinal));
        Assert.NotEmpty(GuestDisk.SlotOf(s_methods.Length - 1));
        Assert.Equal(s_methods.Length, s_methods.Select(m => m.Name).Distinct().Count());
    }

    [Theory]
    [InlineData("virtio-iothread-1t", "over NBD, 1 iothread", "nbd", 1, null)]
    [InlineData("virtio-iothread-4t", "over NBD, 4 iothreads", "nbd", 4, null)]
    [InlineData("virtio-iothread-ublk-1t", "over ublk, 1 iothread", "host_device", 1, "ublk_drv")]
    [InlineData("virtio-iothread-ublk-4t", "over ublk, 4 iothreads", "host_device", 4, "ublk_drv")]
    [InlineData("virtio-iothread-vduse-4t", "over VDUSE, 4 iothreads", "host_device", 4, "vduse")]
    [InlineData("ublk-host-device", "main thread", "host_device", 0, "ublk_drv")]
    [InlineData("nbd", "main thread", "nbd", 0, null)]
    public void QemusOwnDiskSaysInItsTitleByWhatItOpensTheVolumeAndWithHowManyThreads(string id, string words, string driver, int iothreads, string? module)
    {
        GuestMethod method = s_methods.Single(m => m.Facts.Id == $"{id}@guest");
        Assert.Contains(words, method.Facts.Title, StringComparison.Ordinal);
        LoadEndpoint endpoint = driver == "nbd" ? new NbdEndpoint("/s", "v", 1) : new BlockEndpoint("/dev/ublkb3", 1);
        string line = string.Join(' ', method.Attach(endpoint).CommandLine("10"));
        Assert.Contains($"\"driver\":\"{driver}\"", line, StringComparison.Ordinal);
        Assert.Equal(iothreads, line.Split("-object iothread,").Length - 1);
        Assert.Equal(module, method.Facts.Needs.KernelModules is [var first, ..] ? first : null);
    }

    [Fact]
    public void MethodsOfOneServerShareItsDrives()
    {
        string[][] shared = [.. s_methods.GroupBy(m => m.Drives).Select(g => g.Select(m => m.Facts.Frontend).Distinct().Order().ToArray()).Where(g => g.Length > 1)];
        Assert.Equal([["nbd", "vhost-user", "virtio-iothread"], ["ublk", "virtio-iothread"]], shared);
    }
}
