// The disks that a machine can have, as QEMU's arguments. Options are written as JSON where QEMU takes it: a path may hold
// commas.
//
// Sources: qemu(1); docs/system/qemu-block-drivers; iothread-vq-mapping: QEMU 9.0's release notes and
// include/hw/virtio/iothread-vq-mapping.h.

using System.Globalization;
using System.Text.Json.Nodes;

namespace Polyblk.Machine;

/// <summary>A disk of a machine.</summary>
public abstract record GuestDisk
{
    /// <summary>The PCI slot of the first disk on the bus; the following ones have the next.</summary>
    private const int FirstSlot = 0x10;
    private const int MaxDisks = 14;

    /// <summary>The place on the PCI bus of the n-th disk of a machine, hexadecimal.</summary>
    /// <exception cref="InvalidOperationException">There is no room on the bus.</exception>
    public static string SlotOf(int index) => index < MaxDisks
        ? (FirstSlot + index).ToString("x", CultureInfo.InvariantCulture)
        : throw new InvalidOperationException($"A machine takes {MaxDisks} disks.");

    /// <summary>Arguments of QEMU for this disk.</summary>
    /// <param name="id">Unique name of its objects.</param>
    /// <param name="slot">Its place on the PCI bus, hexadecimal.</param>
    internal abstract IEnumerable<string> Arguments(string id, string slot);

    /// <summary>The same, as it stands in reports.</summary>
    public IReadOnlyList<string> CommandLine(string slot) => [.. Arguments($"disk{slot}", slot)];

    /// <summary>QEMU's own virtio-blk on a block node, with its queues dealt out to iothreads.</summary>
    private protected static IEnumerable<string> VirtioBlk(string id, string slot, JsonObject blockdev, int queues, int iothreads)
    {
        var device = new JsonObject { ["driver"] = "virtio-blk-pci", ["id"] = id, ["drive"] = id + "node", ["addr"] = slot, ["num-queues"] = queues };
        string[] threads = [.. Enumerable.Range(0, iothreads).Select(i => string.Create(CultureInfo.InvariantCulture, $"{id}io{i}"))];
        if (threads.Length == 1) device["iothread"] = threads[0];
        // Without vqs QEMU deals the queues out in turn.
        if (threads.Length > 1) device["iothread-vq-mapping"] = new JsonArray([.. threads.Select(t => new JsonObject { ["iothread"] = t })]);
        blockdev["node-name"] = id + "node";
        return
        [
            .. threads.SelectMany(t => new[] { "-object", $"iothread,id={t}" }),
            "-blockdev", blockdev.ToJsonString(), "-device", device.ToJsonString(),
        ];
    }
}

/// <summary>A vhost-user-blk socket that listens.</summary>
public sealed record VhostUserDisk(string SocketPath, int Queues) : GuestDisk
{
    internal override IEnumerable<string> Arguments(string id, string slot) =>
    [
        "-chardev", $"socket,id={id}char,path={SocketPath.Replace(",", ",,", StringComparison.Ordinal)}",
        "-device", string.Create(CultureInfo.InvariantCulture, $"vhost-user-blk-pci,id={id},chardev={id}char,num-queues={Queues},addr={slot}"),
    ];
}

/// <summary>An NBD export on a Unix socket, opened by QEMU.</summary>
/// <param name="Iothreads">0: QEMU's main thread does the work.</param>
/// <param name="ReadOnly">Whether the export is read-only: QEMU does not find out by itself.</param>
public sealed record NbdDisk(string SocketPath, string ExportName, int Queues, int Iothreads, bool ReadOnly = false) : GuestDisk
{
    internal override IEnumerable<string> Arguments(string id, string slot) => VirtioBlk(
        id,
        slot,
        new JsonObject
        {
            ["driver"] = "nbd",
            ["server"] = new JsonObject { ["type"] = "unix", ["path"] = SocketPath },
            ["export"] = ExportName,
            ["read-only"] = ReadOnly,
            ["discard"] = "unmap",
        },
        Queues,
        Iothreads);
}

/// <summary>A block device of the host, such as one of ublk, opened by QEMU.</summary>
/// <param name="Iothreads">0: QEMU's main thread does the work.</param>
/// <param name="ReadOnly">Whether the device is read-only.</param>
public sealed record HostBlockDisk(string Path, int Queues, int Iothreads, bool ReadOnly = false) : GuestDisk
{
    internal override IEnumerable<string> Arguments(string id, string slot) => VirtioBlk(
        id,
        slot,
        new JsonObject
        {
            ["driver"] = "host_device",
            ["filename"] = Path,
            ["read-only"] = ReadOnly,
            ["aio"] = "io_uring",
            ["cache"] = new JsonObject { ["direct"] = true },
            ["discard"] = "unmap",
        },
        Queues,
        Iothreads);
}

/// <summary>A file of the host, opened by QEMU.</summary>
public sealed record FileDisk(string Path, int Queues, int Iothreads) : GuestDisk
{
    internal override IEnumerable<string> Arguments(string id, string slot) => VirtioBlk(
        id, slot, new JsonObject { ["driver"] = "file", ["filename"] = Path, ["aio"] = "io_uring", ["discard"] = "unmap" }, Queues, Iothreads);
}

/// <summary>A vDPA device of the host, bound to vhost_vdpa (/dev/vhost-vdpa-N).</summary>
public sealed record VhostVdpaDisk(string Path) : GuestDisk
{
    internal override IEnumerable<string> Arguments(string id, string slot) =>
        ["-device", new JsonObject { ["driver"] = "vhost-vdpa-device-pci", ["id"] = id, ["vhostdev"] = Path, ["addr"] = slot }.ToJsonString()];
}
