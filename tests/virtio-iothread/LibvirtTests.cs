// What is printed for libvirt, held against libvirt's own schema of domains (Debian's package libvirt-common) by xmllint.

using System.Diagnostics;
using System.Xml.Linq;
using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Core.Drives;
using Polyblk.Core.Frontend;
using Polyblk.Fakes;
using Polyblk.Frontends.VhostUser;
using Polyblk.Frontends.VirtioIothread;

namespace Polyblk.VirtioIothread.Tests;

public sealed class LibvirtTests : IDisposable
{
    private const string Schema = "/usr/share/libvirt/schemas/domain.rng";

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
        AssertValid(test.Command("libvirt").Text);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task It_takes_the_disk_that_qemu_opens_as_a_block_device(bool readOnly)
    {
        await using var drive = new RamDrive(64 << 20);
        ExportSpec spec = IothreadTestExport.Spec(drive) with { ReadOnly = readOnly };
        AssertValid(LibvirtXml.Build(spec, new ExportEndpoint(EndpointKind.BlockDevice, "/dev/ublkb0"), new IothreadPlan(4, 2, 4, 256, [])));
    }

    [Fact]
    public async Task It_takes_the_disk_of_vhost_user()
    {
        await using var drive = new RamDrive(64 << 20);
        using var reactors = new ReactorFixture(ringEntries: 0);
        var spec = new ExportSpec { Id = "data/vhost-user/0", VolumeName = "data", Device = drive, Queues = 4 };
        await using IExport export = await new VhostUserFrontend().CreateAsync(
            spec, new ExportContext(reactors.Group, _folder, _folder, NullLoggerFactory.Instance), CancellationToken.None);
        AssertValid(export.AttachCommands.Single(c => c.Consumer == "libvirt").Text);
    }

    /// <summary>The schema would find what is wrong.</summary>
    [Fact]
    public async Task It_refuses_what_it_does_not_know()
    {
        await using IothreadTestExport test = await IothreadTestExport.StartAsync(("vcpus", "4"), ("iothreads", "2"));
        (int status, string said) = Validate(test.Command("libvirt").Text.Replace("queue_size", "queue-size", StringComparison.Ordinal));
        Assert.NotEqual(0, status);
        Assert.Contains("validity error", said, StringComparison.Ordinal);
    }

    private void AssertValid(string fragment)
    {
        (int status, string said) = Validate(fragment);
        Assert.True(status == 0, $"{said}\n{fragment}");
    }

    /// <summary>Merges a fragment into a domain, as a reader of it would, and has that looked at.</summary>
    private (int Status, string Said) Validate(string fragment)
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
        using Process xmllint = Process.Start(new ProcessStartInfo("xmllint", ["--noout", "--relaxng", Schema, file]) { RedirectStandardError = true })!;
        string said = xmllint.StandardError.ReadToEnd();
        xmllint.WaitForExit();
        return (xmllint.ExitCode, said);
    }
}
