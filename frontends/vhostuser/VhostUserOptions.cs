using System.Globalization;

namespace Polyblk.Frontends.VhostUser;

/// <summary>What a vhost-user export is made with: the common options, checked, and those of this frontend.</summary>
internal sealed record VhostUserOptions
{
    /// <summary>Most queues that a session can have (the index in SET_VRING_KICK has 8 bits).</summary>
    public const int MaxQueues = 256;

    /// <summary>Largest queue (virtio 1.2, 2.7: 32768).</summary>
    public const int MaxQueueSize = 32768;

    /// <summary>Entries of a queue in the attach commands when nothing was said.</summary>
    public const int DefaultQueueSize = 256;

    /// <summary>Queues offered to each session.</summary>
    public required int Queues { get; init; }

    /// <summary>Whether their number was asked for; otherwise it is the most that is possible, and no recommendation.</summary>
    public required bool AreQueuesGiven { get; init; }

    /// <summary>
    /// Entries of a queue: recommended in the attach commands, and the most that is accepted when it was set by hand.
    /// </summary>
    public required int QueueSize { get; init; }

    /// <summary>Most entries of a queue that a front-end may set.</summary>
    public required int QueueSizeLimit { get; init; }

    /// <summary>Whether packed rings are offered.</summary>
    public required bool Packed { get; init; }

    /// <summary>Whether notifications bound to an index (EVENT_IDX) are offered.</summary>
    public required bool EventIdx { get; init; }

    /// <summary>
    /// Mode with which the socket is made; whoever serves may give it another, and a group (--socket-mode, --socket-group).
    /// </summary>
    public UnixFileMode SocketMode { get; } = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.GroupWrite;

    /// <summary>Most sessions at once.</summary>
    public required int MaxSessions { get; init; }

    /// <summary>Of these, most of one process, so that it cannot lock all others out: three quarters, rounded up.</summary>
    public int MaxSessionsOfProcess => ((3 * MaxSessions) + 3) / 4;

    /// <summary>Whether only memory is taken that its owner cannot make shorter.</summary>
    public required bool SealedMemory { get; init; }

    /// <summary>Whether guest memory is registered with the reactors' rings.</summary>
    public required bool PinMemory { get; init; }

    /// <summary>The options as the command line shows them.</summary>
    public static IReadOnlyList<FrontendOption> Descriptions { get; } =
    [
        new("packed", "on|off", "Offer packed rings beside split ones (default on; the front-end chooses).", ["on", "off"]),
        new("event-idx", "on|off", "Offer notifications bound to an index; off helps drivers that poll and send singly (default on).", ["on", "off"]),
        new("sealed-memory", "on|off", "Take only memory that is sealed against shrinking, or can be (default off).", ["on", "off"]),
        new("pin-memory", "on|off", "Hold the guest's memory for faster I/O; not for guests with a balloon or virtio-mem (default off).", ["on", "off"]),
        new("max-sessions", "N", "Front-ends that may be attached to the socket at once (default 64).", []),
    ];

    /// <summary>Checks a specification.</summary>
    /// <param name="spec">What is asked for.</param>
    /// <exception cref="FrontendException">A value is out of range.</exception>
    public static VhostUserOptions From(ExportSpec spec)
    {
        // A queue that no front-end sets up costs next to nothing (0.2 KB), and QEMU does not start with fewer than it wants: by
        // default one for each of the guest's processors. So as many are offered as there can be.
        int queues = spec.Queues ?? MaxQueues;
        Require(queues is >= 1 and <= MaxQueues, $"{queues} queues are not possible: use 1 to {MaxQueues}.");
        int size = spec.QueueSize ?? DefaultQueueSize;
        Require(
            size is >= 2 and <= MaxQueueSize && int.IsPow2(size),
            $"A queue size of {size} is not possible: use a power of two from 2 to {MaxQueueSize} (QEMU takes at most 1024).");
        return new VhostUserOptions
        {
            Queues = queues,
            AreQueuesGiven = spec.Queues is not null,
            QueueSize = size,
            QueueSizeLimit = spec.QueueSize ?? MaxQueueSize,
            Packed = Choice(spec, "packed", "on", ["on", "off"]) == "on",
            EventIdx = Choice(spec, "event-idx", "on", ["on", "off"]) == "on",
            SealedMemory = Choice(spec, "sealed-memory", "off", ["on", "off"]) == "on",
            PinMemory = Choice(spec, "pin-memory", "off", ["on", "off"]) == "on",
            MaxSessions = Number(spec, "max-sessions", 64, 1, 1024),
        };
    }

    private static string Choice(ExportSpec spec, string name, string otherwise, string[] choices)
    {
        string text = spec.Options.GetValueOrDefault(name, otherwise);
        Require(choices.Contains(text), $"--{name} {text} is unknown: use {string.Join(" or ", choices)}.");
        return text;
    }

    private static int Number(ExportSpec spec, string name, int otherwise, int least, int most)
    {
        string? text = spec.Options.GetValueOrDefault(name);
        if (text is null)
        {
            return otherwise;
        }

        bool parsed = int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int value);
        Require(parsed && value >= least && value <= most, $"--{name} {text} is not possible: use {least} to {most}.");
        return value;
    }

    private static void Require(bool condition, string message)
    {
        if (!condition)
        {
            throw new FrontendOptionException(message);
        }
    }
}
