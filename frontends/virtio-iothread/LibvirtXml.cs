// The same disk as a fragment of a libvirt domain. Source: libvirt's formatdomain, "IOThreads Allocation", the disk driver's
// <iothreads> element (libvirt 10.0 and later) and the NBD source's <reconnect delay> (9.5 and later). Debian 12 has libvirt 9.0,
// which knows neither and refuses the whole domain for one of them: it has a fragment of its own.

using System.Xml.Linq;

namespace Polyblk.Frontends.VirtioIothread;

/// <summary>Builds the libvirt fragment.</summary>
internal static class LibvirtXml
{
    /// <summary>Seconds for which QEMU waits for a target that is started again.</summary>
    private const int ReconnectSeconds = 60;

    /// <summary>Whether a libvirt before 9.5 takes the fragment as it is.</summary>
    public static bool IsForAll(ExportEndpoint carrier, IothreadPlan plan) => plan.Iothreads == 1 && carrier.Kind == EndpointKind.BlockDevice;

    /// <summary>
    /// The fragment for a libvirt before 9.5: all queues on one iothread, and an NBD disk that does not wait for its target.
    /// </summary>
    public static string BuildForOld(ExportSpec spec, ExportEndpoint carrier, IothreadPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        return Build(spec, carrier, plan with { Iothreads = 1 }, waits: false);
    }

    /// <summary>The elements &lt;iothreads&gt;, &lt;cputune&gt; (with pinning) and &lt;disk&gt;.</summary>
    public static string Build(ExportSpec spec, ExportEndpoint carrier, IothreadPlan plan) => Build(spec, carrier, plan, waits: true);

    private static string Build(ExportSpec spec, ExportEndpoint carrier, IothreadPlan plan, bool waits)
    {
        var parts = new List<XElement> { new("iothreads", plan.Iothreads) };
        if (plan.Cpus.Count != 0)
        {
            parts.Add(new XElement(
                "cputune",
                Enumerable.Range(0, plan.Iothreads).Select(i => new XElement(
                    "iothreadpin", new XAttribute("iothread", i + 1), new XAttribute("cpuset", plan.CpuOf(i)!)))));
        }

        parts.Add(Disk(spec, carrier, plan, waits));
        return string.Join('\n', parts);
    }

    private static XElement Disk(ExportSpec spec, ExportEndpoint carrier, IothreadPlan plan, bool waits)
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
                waits ? new XElement("reconnect", new XAttribute("delay", ReconnectSeconds)) : null);
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
