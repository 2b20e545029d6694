// What is printed for libvirt, held against libvirt's own schemas of domains by xmllint: that of a libvirt from 10.0 on (Debian's
// package libvirt-common), and that of Debian 12 (9.0, which tests/setup/install unpacks beside it).

using System.Diagnostics;
using System.Xml.Linq;
using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Drives.Ram;
using Polyblk.Fakes;
using Polyblk.Frontends;
using Polyblk.Frontends.VhostUser;
using Polyblk.Frontends.VirtioIothread;

namespace Polyblk.VirtioIothread.Tests;

public sealed class LibvirtTests : IDisposable
{
    private const string Schema = "/usr/share/libvirt/schemas/domain.rng";

    private static readonly string s_oldSchema = Path.Combine(
        Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { Length: > 0 } cache ? cache : Path.Combine(Environment.GetEnvironmentVariable("HOME")!, ".cache"),
        "polyblk/libvirt-9.0/usr/share/libvirt/schemas/domain.rng");

    private readonly string _folder = Directory.CreateTempSubdirectory("polyblk-libvirt-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("4", "1", null)]
    [InlineData("4", "2", null)]
    [InlineData("32", "16", "4-19")]
    public async Task It_takes_the_disk_that_qemu_opens_by_nbd(string vcpus, string iothreads, string? cpus)
    {
        (string, string)[] pinning = cpus is null ? [] : [("iothread-cpus", cpus)];
        await using IothreadTestExport test = await IothreadTestExport.StartAsync([("vcpus", vcpus), ("iothreads", iothreads), .. pinning]);
        AttachCommand[] fragments = test.Commands("libvirt");
        Assert.Equal(2, fragments.Length);
        AssertValid(fragments[0].Text);
        Assert.Contains("<reconnect delay=\"60\" />", fragments[0].Text, StringComparison.Ordinal);

        // Debian 12's libvirt refuses a domain with that; what is printed for it does not.
        Assert.NotEqual(0, Validate(fragments[0].Text, s_oldSchema).Status);
        Assert.Contains("Debian 12", fragments[1].Purpose, StringComparison.Ordinal);
        AssertValid(fragments[1].Text, s_oldSchema);
        AssertValid(fragments[1].Text);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task It_takes_the_disk_that_qemu_opens_as_a_block_device(bool readOnly)
    {
        await using var drive = new RamDrive(64 << 20);
        ExportSpec spec = IothreadTestExport.Spec(drive) with { ReadOnly = readOnly };
        var device = new ExportEndpoint(EndpointKind.BlockDevice, "/dev/ublkb0");
        AssertValid(LibvirtXml.Build(spec, device, new IothreadPlan(4, 2, 4, 256, [])));
        AssertValid(LibvirtXml.BuildForOld(spec, device, new IothreadPlan(4, 2, 4, 256, [])), s_oldSchema);

        var one = new IothreadPlan(4, 1, 4, 256, [3]);
        Assert.True(LibvirtXml.IsForAll(device, one));
        AssertValid(LibvirtXml.Build(spec, device, one), s_oldSchema);
    }

    [Fact]
    public async Task It_takes_the_disk_of_vhost_user()
    {
        await using var drive = new RamDrive(64 << 20);
        using var reactors = new ReactorFixture(ringEntries: 0);
        var spec = new ExportSpec { Id = "data/vhost-user/0", VolumeName = "data", Device = drive, Queues = 4 };
        await using IExport export = await new VhostUserFrontend().CreateAsync(
            spec, new ExportContext(reactors.Group, _folder, _folder, NullLoggerFactory.Instance), CancellationToken.None);
        string fragment = export.AttachCommands.Single(c => c.Consumer == "libvirt").Text;
        AssertValid(fragment);
        AssertValid(fragment, s_oldSchema);
    }

    /// <summary>The schema would find what is wrong.</summary>
    [Fact]
    public async Task It_refuses_what_it_does_not_know()
    {
        await using IothreadTestExport test = await IothreadTestExport.StartAsync(("vcpus", "4"), ("iothreads", "2"));
        (int status, string said) = Validate(test.Commands("libvirt")[0].Text.Replace("queue_size", "queue-size", StringComparison.Ordinal), Schema);
        Assert.NotEqual(0, status);
        Assert.Contains("validity error", said, StringComparison.Ordinal);
    }

    private void AssertValid(string fragment, string schema = Schema)
    {
        (int status, string said) = Validate(fragment, schema);
        Assert.True(status == 0, $"{said}\n{fragment}");
    }

    /// <summary>Merges a fragment into a domain, as a reader of it would, and has that looked at.</summary>
    private (int Status, string Said) Validate(string fragment, string schema)
    {
        XElement domain = XElement.Parse(
            "<domain type='kvm'><name>vm</name><memory unit='MiB'>256</memory><vcpu>4</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os><devices/></domain>");
        foreach (XElement element in XElement.Parse($"<fragment>{fragment}</fragment>").Elements())
        {
            switch (element.Name.LocalName)
            {
                case "devices":
                    domain.Element("devices")!.Add(element.Elements());
                    break;
                case "disk":
                    domain.Element("devices")!.Add(element);
                    break;
                default:
                    domain.Add(element);
                    break;
            }
        }

        string file = Path.Combine(_folder, "domain.xml");
        domain.Save(file);
        using Process xmllint = Process.Start(new ProcessStartInfo("xmllint", ["--noout", "--relaxng", schema, file]) { RedirectStandardError = true })!;
        string said = xmllint.StandardError.ReadToEnd();
        xmllint.WaitForExit();
        return (xmllint.ExitCode, said);
    }
}
