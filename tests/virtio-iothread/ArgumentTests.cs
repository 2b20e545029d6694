// What is printed for QEMU and libvirt: shapes, defaults, refusals.

using System.Text.Json.Nodes;
using System.Xml.Linq;
using Polyblk.Drives.Ram;
using Polyblk.Frontends;
using Polyblk.Frontends.VirtioIothread;

namespace Polyblk.VirtioIothread.Tests;

public sealed class ArgumentTests
{
    [Fact]
    public async Task Many_iothreads_share_every_queue_between_them()
    {
        await using IothreadTestExport test = await IothreadTestExport.StartAsync(("vcpus", "32"), ("iothreads", "16"));
        IReadOnlyList<string> arguments = test.Command("qemu").Arguments;
        Assert.Equal(16, arguments.Count(a => a.StartsWith("iothread,id=iot", StringComparison.Ordinal)));
        JsonNode device = JsonNode.Parse(arguments[^1])!;
        Assert.Equal(32, (int)device["num-queues"]!);
        JsonArray mapping = device["iothread-vq-mapping"]!.AsArray();
        Assert.Equal(16, mapping.Count);
        Assert.Equal(Enumerable.Range(0, 32), mapping.SelectMany(m => m!["vqs"]!.AsArray().Select(q => (int)q!)).Order());
        Assert.All(mapping, m => Assert.Equal(2, m!["vqs"]!.AsArray().Count));
    }

    [Fact]
    public async Task One_iothread_is_the_single_iothread_method()
    {
        await using IothreadTestExport test = await IothreadTestExport.StartAsync(("vcpus", "4"), ("iothreads", "1"));
        JsonNode device = JsonNode.Parse(test.Command("qemu").Arguments[^1])!;
        Assert.Equal("iot0", (string)device["iothread"]!);
        Assert.Null(device["iothread-vq-mapping"]);
    }

    [Fact]
    public async Task Libvirt_gets_the_same_mapping_and_the_pinning()
    {
        await using IothreadTestExport test = await IothreadTestExport.StartAsync(("vcpus", "4"), ("iothreads", "2"), ("iothread-cpus", "4-5"));
        XElement domain = XElement.Parse("<domain>" + test.Command("libvirt").Text + "</domain>");
        Assert.Equal("2", domain.Element("iothreads")!.Value);
        Assert.Equal(["4", "5"], domain.Descendants("iothreadpin").Select(p => p.Attribute("cpuset")!.Value));
        XElement driver = domain.Descendants("driver").Single();
        Assert.Equal("4", driver.Attribute("queues")!.Value);
        Assert.Equal(["0", "2", "1", "3"], driver.Descendants("queue").Select(q => q.Attribute("id")!.Value));
        Assert.Equal("unix", domain.Descendants("host").Single().Attribute("transport")!.Value);
        Assert.Contains("taskset -cp 4", test.Command("shell").Text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("vcpus", "0", "from 1 to 1024")]
    [InlineData("vcpus", "many", "from 1 to 1024")]
    [InlineData("iothreads", "9", "at most 4")]
    [InlineData("iothread-cpus", "x", "no processor list")]
    [InlineData("carrier", "telepathy", "no carrier")]
    public async Task Senseless_options_are_refused_with_what_to_do(string option, string value, string expected)
    {
        FrontendOptionException refusal = await Assert.ThrowsAsync<FrontendOptionException>(() => IothreadTestExport.StartAsync((option, value)));
        Assert.Contains(expected, refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_old_qemu_is_refused_for_many_iothreads_and_good_enough_for_one()
    {
        string old = Path.Combine(Directory.CreateTempSubdirectory("polyblk-qemu-").FullName, "qemu");
        await File.WriteAllTextAsync(old, "#!/bin/sh\necho 'QEMU emulator version 7.2.15 (Debian 1:7.2+dfsg-7)'\n");
        File.SetUnixFileMode(old, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        FrontendException refusal = await Assert.ThrowsAsync<FrontendException>(() => IothreadTestExport.StartAsync(("qemu", old), ("iothreads", "2")));
        Assert.Contains("7.2.15", refusal.Message, StringComparison.Ordinal);
        Assert.Contains("9.0", refusal.Message, StringComparison.Ordinal);
        await using IothreadTestExport test = await IothreadTestExport.StartAsync(("qemu", old), ("iothreads", "1"));
        Assert.NotNull(test.Export);
    }

    [Fact]
    public async Task A_block_device_is_opened_directly_with_io_uring()
    {
        await using var drive = new RamDrive(64 << 20);
        ExportSpec spec = IothreadTestExport.Spec(drive);
        JsonObject node = QemuArguments.BlockNode(spec, new ExportEndpoint(EndpointKind.BlockDevice, "/dev/ublkb0"));
        Assert.Equal("host_device", (string)node["driver"]!);
        Assert.Equal("io_uring", (string)node["aio"]!);
        Assert.True((bool)node["cache"]!["direct"]!);
    }
}
