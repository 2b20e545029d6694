// By which frontend QEMU opens the volume, on hosts that have one or another.

using Microsoft.Extensions.Logging.Abstractions;
using Moq;
using Polyblk.Drives.Ram;
using Polyblk.Fakes;
using Polyblk.Frontends;
using Polyblk.Frontends.VirtioIothread;

namespace Polyblk.VirtioIothread.Tests;

public sealed class CarrierTests
{
    private static readonly FrontendProbe s_here = new(true, "Here.", [], new Dictionary<string, string>());
    private static readonly FrontendProbe s_away = new(false, "It is not in this kernel.", ["modprobe it"], new Dictionary<string, string>());
    private static readonly FrontendProbe s_attachable = s_here with { Facts = new Dictionary<string, string> { ["virtio_vdpa"] = "loaded" } };
    private static readonly FrontendProbe s_withoutDriver = s_here with { Facts = new Dictionary<string, string> { ["virtio_vdpa"] = "not loaded" } };
    private static readonly FrontendProbe s_withoutTool = s_attachable with { Remedies = ["apt install iproute2"] };

    public static TheoryData<FrontendProbe, FrontendProbe, string, string> Hosts => new()
    {
        { s_here, s_attachable, "ublk", "" },
        { s_away, s_attachable, "vduse", "Not by ublk: It is not in this kernel." },
        { s_away, s_away, "nbd", "Not by vduse: It is not in this kernel." },
        { s_away, s_withoutDriver, "nbd", "modprobe virtio_vdpa" },
        { s_away, s_withoutTool, "nbd", "apt install iproute2" },
    };

    [Theory]
    [MemberData(nameof(Hosts))]
    public async Task The_best_that_is_ready_is_chosen_and_the_notes_say_why_not_another(FrontendProbe ublk, FrontendProbe vduse, string expected, string note)
    {
        (string carrier, _, IExport export) = await ServeAsync(null, ublk, vduse);
        Assert.Equal(expected, carrier);
        string notes = string.Join('\n', export.Notes);
        Assert.Contains($"QEMU opens the volume by {expected}.", notes, StringComparison.Ordinal);
        Assert.Contains(note, notes, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Vduse_is_asked_for_a_block_device_under_a_name_of_its_own_and_QEMU_opens_it()
    {
        (_, ExportSpec asked, IExport export) = await ServeAsync("vduse", s_here, s_attachable);
        Assert.Equal("virtio", asked.Options["attach"]);
        Assert.Equal("data-qemu", asked.Options["vduse-name"]);
        string node = export.AttachCommands.First(c => c.Consumer == "qemu").Arguments.First(a => a.Contains("host_device", StringComparison.Ordinal));
        Assert.Contains("/dev/of-vduse", node, StringComparison.Ordinal);
    }

    /// <summary>What was named is taken, ready or not: the carrier itself says what it lacks.</summary>
    [Fact]
    public async Task A_carrier_that_is_named_is_taken()
    {
        (string carrier, ExportSpec asked, _) = await ServeAsync("nbd", s_here, s_attachable);
        Assert.Equal("nbd", carrier);
        Assert.Empty(asked.Options);
    }

    private static async Task<(string Carrier, ExportSpec Asked, IExport Export)> ServeAsync(string? carrier, FrontendProbe ublk, FrontendProbe vduse)
    {
        await using var drive = new RamDrive(64 << 20);
        using var reactors = new ReactorFixture(1);
        (string, ExportSpec)? taken = null;
        var catalog = new Mock<IFrontendCatalog>();
        foreach ((string name, FrontendProbe probe) in new[] { ("ublk", ublk), ("vduse", vduse), ("nbd", s_here) })
        {
            var export = new Mock<IExport>();
            export.SetupGet(e => e.Endpoint).Returns(new ExportEndpoint(name == "nbd" ? EndpointKind.UnixSocket : EndpointKind.BlockDevice, "/dev/of-" + name));
            export.SetupGet(e => e.Notes).Returns([]);
            var frontend = new Mock<IFrontend>();
            frontend.Setup(f => f.Probe()).Returns(probe);
            frontend.Setup(f => f.CreateAsync(It.IsAny<ExportSpec>(), It.IsAny<ExportContext>(), It.IsAny<CancellationToken>()))
                .Callback((ExportSpec spec, ExportContext _, CancellationToken _) => taken = (name, spec)).ReturnsAsync(export.Object);
            catalog.Setup(c => c.Find(name)).Returns(frontend.Object);
        }

        ExportSpec spec = IothreadTestExport.Spec(drive, carrier is null ? [] : [("carrier", carrier)]);
        var context = new ExportContext(reactors.Group, "/nowhere", "/nowhere", NullLoggerFactory.Instance);
        IExport served = await new VirtioIothreadFrontend(catalog.Object).CreateAsync(spec, context, CancellationToken.None);
        return (taken!.Value.Item1, taken.Value.Item2, served);
    }
}
