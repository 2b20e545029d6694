// The arguments that attach the volume to QEMU's own virtio-blk. Source: QEMU's qapi (BlockdevOptionsNbd, BlockdevOptionsFile,
// IOThreadVirtQueueMapping) and docs/system/devices; iothread-vq-mapping is in QEMU 9.0 and later.

using System.Text.Json;
using System.Text.Json.Nodes;

namespace Polyblk.Frontends.VirtioIothread;

/// <summary>Builds QEMU arguments.</summary>
internal static class QemuArguments
{
    private static readonly JsonSerializerOptions Compact = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>All arguments: iothread objects, the block node, the device.</summary>
    public static IReadOnlyList<string> Build(ExportSpec spec, ExportEndpoint carrier, IothreadPlan plan)
    {
        var arguments = new List<string>();
        for (int i = 0; i < plan.Iothreads; i++)
        {
            arguments.Add("-object");
            arguments.Add($"iothread,id={IothreadPlan.NameOf(i)}");
        }

        arguments.AddRange(["-blockdev", BlockNode(spec, carrier).ToJsonString(Compact), "-device", Device(spec, plan).ToJsonString(Compact)]);
        return arguments;
    }

    /// <summary>The -blockdev argument: a host device, or the NBD socket.</summary>
    public static JsonObject BlockNode(ExportSpec spec, ExportEndpoint carrier)
    {
        JsonObject node = carrier.Kind == EndpointKind.BlockDevice
            ? new JsonObject { ["driver"] = "host_device", ["filename"] = carrier.Path, ["aio"] = "io_uring" }
            : new JsonObject
            {
                ["driver"] = "nbd",
                ["server"] = new JsonObject { ["type"] = "unix", ["path"] = carrier.Path },
                ["export"] = spec.VolumeName,
                ["reconnect-delay"] = 60,
            };
        node["node-name"] = NodeName(spec);
        node["cache"] = new JsonObject { ["direct"] = true };
        node["discard"] = "unmap";
        node["read-only"] = spec.ReadOnly;
        return node;
    }

    /// <summary>The -device argument.</summary>
    public static JsonObject Device(ExportSpec spec, IothreadPlan plan)
    {
        var device = new JsonObject
        {
            ["driver"] = "virtio-blk-pci",
            ["drive"] = NodeName(spec),
            ["serial"] = spec.Serial,
            ["num-queues"] = plan.Queues,
            ["queue-size"] = plan.QueueSize,
        };
        if (plan.Iothreads == 1)
        {
            device["iothread"] = IothreadPlan.NameOf(0);
            return device;
        }

        var mapping = new JsonArray();
        for (int i = 0; i < plan.Iothreads; i++)
        {
            var queues = new JsonArray();
            foreach (int queue in plan.QueuesOf(i))
            {
                queues.Add((JsonNode)queue);
            }

            mapping.Add((JsonNode)new JsonObject { ["iothread"] = IothreadPlan.NameOf(i), ["vqs"] = queues });
        }

        device["iothread-vq-mapping"] = mapping;
        return device;
    }

    /// <summary>A block node's name: letters, digits and "-._", beginning with a letter, at most 31 characters.</summary>
    public static string NodeName(ExportSpec spec)
    {
        string name = "pb-" + spec.VolumeName;
        return name.Length <= 31 ? name : name[..31];
    }

    /// <summary>Quotes an argument for a shell where it must be.</summary>
    public static string Quote(string argument) =>
        argument.All(c => char.IsAsciiLetterOrDigit(c) || "-_./=,:+@%".Contains(c, StringComparison.Ordinal)) ? argument : $"'{argument.Replace("'", "'\\''")}'";
}
