// The same disk as a fragment of a libvirt domain. Source: libvirt's formatdomain, "IOThreads Allocation" and the disk driver's
// <iothreads> element (libvirt 10.0 and later).

using System.Xml.Linq;
using Polyblk.Core.Frontend;

namespace Polyblk.Frontends.VirtioIothread;

/// <summary>Builds the libvirt fragment.</summary>
internal static class LibvirtXml
{
    /// <summary>The elements &lt;iothreads&gt;, &lt;cputune&gt; (with pinning) and &lt;disk&gt;.</summary>
    public static string Build(ExportSpec spec, ExportEndpoint carrier, IothreadPlan plan)
    {
        var parts = new List<XElement> { new("iothreads", plan.Iothreads) };
        if (plan.Cpus.Count != 0)
        {
            parts.Add(new XElement(
                "cputune",
                Enumerable.Range(0, plan.Iothreads).Select(i => new XElement(
                    "iothreadpin", new XAttribute("iothread", i + 1), new XAttribute("cpuset", plan.CpuOf(i)!)))));
        }

        parts.Add(Disk(spec, carrier, plan));
        return string.Join('\n', parts);
    }

    private static XElement Disk(ExportSpec spec, ExportEndpoint carrier, IothreadPlan plan)
    {
        bool block = carrier.Kind == EndpointKind.BlockDevice;
        var driver = new XElement(
            "driver",
            new XAttribute("name", "qemu"),
            new XAttribute("type", "raw"),
            new XAttribute("cache", "none"),
            new XAttribute("discard", "unmap"),
            new XAttribute("queues", plan.Queues),
            new XAttribute("queue_size", plan.QueueSize));
        if (block)
        {
            driver.Add(new XAttribute("io", "io_uring"));
        }

        if (plan.Iothreads == 1)
        {
            driver.Add(new XAttribute("iothread", 1));
        }
        else
        {
            driver.Add(new XElement(
                "iothreads",
                Enumerable.Range(0, plan.Iothreads).Select(i => new XElement(
                    "iothread", new XAttribute("id", i + 1), plan.QueuesOf(i).Select(q => new XElement("queue", new XAttribute("id", q)))))));
        }

        XElement source = block
            ? new XElement("source", new XAttribute("dev", carrier.Path))
            : new XElement(
                "source",
                new XAttribute("protocol", "nbd"),
                new XAttribute("name", spec.VolumeName),
                new XElement("host", new XAttribute("transport", "unix"), new XAttribute("socket", carrier.Path)),
                new XElement("reconnect", new XAttribute("delay", 60)));
        var disk = new XElement(
            "disk",
            new XAttribute("type", block ? "block" : "network"),
            new XAttribute("device", "disk"),
            driver,
            source,
            new XElement("target", new XAttribute("dev", "vda"), new XAttribute("bus", "virtio")));
        if (spec.Serial.Length != 0)
        {
            disk.Add(new XElement("serial", spec.Serial));
        }

        if (spec.ReadOnly)
        {
            disk.Add(new XElement("readonly"));
        }

        return disk;
    }
}
