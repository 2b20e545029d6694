namespace Polyblk.Frontends.Vduse;

/// <summary>The options of one export, checked.</summary>
internal sealed record VduseOptions(string Name, VdpaAttachment Attachment, int Queues, int QueueSize, bool Packed, bool PinMemory)
{
    private const int MaxNameLength = 64;
    private const int DefaultQueueSize = 256;
    private const int MaxQueues = 256;
    private const int MaxQueueSize = 1024;

    public static IReadOnlyList<FrontendOption> Descriptions { get; } =
    [
        new("attach", "KIND", "Attach with the vdpa tool: virtio gives /dev/vdX to this host and its containers, vhost gives /dev/vhost-vdpa-N to "
            + "a virtual machine, none leaves it to you (default: none).", ["virtio", "vhost", "none"]),
        new("vduse-name", "NAME", "Name of the device in /dev/vduse and on the vdpa bus (default: the volume's name).", []),
        new("pin-memory", "on|off", "Give the kernel memory of this process for bounce pages, and register it with io_uring: 64 MiB for each device (default off).", ["on", "off"]),
        new("packed", "on|off", "Offer packed virtqueues beside split ones (default off; the driver chooses).", ["on", "off"]),
    ];

    /// <summary>Reads the options of an export.</summary>
    /// <exception cref="FrontendException">One of them is not possible; the message says what is.</exception>
    public static VduseOptions From(ExportSpec spec, int reactors)
    {
        string name = spec.Options.GetValueOrDefault("vduse-name", spec.VolumeName);
        if (name.Length is 0 or > MaxNameLength || name is "control" or "." or ".." || !name.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.'))
        {
            throw new FrontendOptionException(
                $"'{name}' is no name for a VDUSE device: use 1 to {MaxNameLength} letters, digits, '-', '_' or '.' (--vduse-name).");
        }

        int queues = spec.Queues ?? Math.Clamp(reactors, 1, 16);
        if (queues is < 1 or > MaxQueues)
        {
            throw new FrontendOptionException($"{queues} queues are not possible: use 1 to {MaxQueues}.");
        }

        int size = spec.QueueSize ?? DefaultQueueSize;
        if (size is < 2 or > MaxQueueSize || (size & (size - 1)) != 0)
        {
            throw new FrontendOptionException($"A queue size of {size} is not possible: use a power of two from 2 to {MaxQueueSize}.");
        }

        return new VduseOptions(name, ParseAttachment(spec.Options.GetValueOrDefault("attach", "none")), queues, size, IsOn(spec, "packed"), IsOn(spec, "pin-memory"));
    }

    private static bool IsOn(ExportSpec spec, string option) => spec.Options.GetValueOrDefault(option, "off") switch
    {
        "on" => true,
        "off" => false,
        string other => throw new FrontendOptionException($"--{option} {other} is not possible: use on or off."),
    };

    private static VdpaAttachment ParseAttachment(string text) => text switch
    {
        "none" => VdpaAttachment.None,
        "virtio" => VdpaAttachment.Virtio,
        "vhost" => VdpaAttachment.Vhost,
        _ => throw new FrontendOptionException($"--attach {text} is not possible: use virtio, vhost or none."),
    };
}
