// The options of an export, read and checked once.

using System.Globalization;

namespace Polyblk.Frontends.Ublk;

/// <summary>The options of <see cref="ExportSpec"/> as this frontend understands them.</summary>
/// <param name="CopyMode">One of <see cref="UblkPlan.ModeNames"/>.</param>
/// <param name="Unprivileged">Whether to make a device of an ordinary user.</param>
/// <param name="Queues">Queues.</param>
/// <param name="Depth">Tags a queue.</param>
/// <param name="MaxIoBytes">Largest read or write in bytes, or null for the default.</param>
/// <param name="Number">The device number that the user insists on, or null.</param>
/// <param name="FailsWithoutServer">Whether requests fail while no process serves the device; otherwise they wait.</param>
internal sealed record UblkSpec(string CopyMode, bool Unprivileged, int Queues, int Depth, int? MaxIoBytes, uint? Number, bool FailsWithoutServer = false)
{
    public const int DefaultDepth = 128;
    private const int MaxQueues = 256;

    /// <summary>The frontend's options, for the command line.</summary>
    public static readonly IReadOnlyList<FrontendOption> Options =
    [
        new("copy-mode", "MODE", "How data goes between the kernel and the volume (default: auto, the best that the volume and the kernel allow).", UblkPlan.ModeNames),
        new("max-io", "SIZE", "Largest request, for example 512KiB (default: 1MiB, or a whole stripe up to 4MiB).", []),
        new("number", "N", "Number of the device: /dev/ublkbN (default: that of the last time, else the first that is free).", []),
        new("recovery", "WHAT", "What requests do while no process serves the device: wait for the next one, or fail (default: wait).", ["wait", "fail"]),
        new("unprivileged", null, "Make a device of this user, without root (copying only, no recovery).", []),
    ];

    /// <summary>Reads a specification.</summary>
    /// <exception cref="FrontendException">A value is out of range.</exception>
    public static UblkSpec Read(ExportSpec spec, int reactors)
    {
        int queues = spec.Queues ?? reactors;
        int depth = spec.QueueSize ?? DefaultDepth;
        if (queues is < 1 or > MaxQueues)
        {
            throw new FrontendOptionException($"A ublk device has 1 to {MaxQueues} queues, not {queues}.");
        }

        if (depth is < 1 or > UblkAbi.UBLK_MAX_QUEUE_DEPTH)
        {
            throw new FrontendOptionException($"A ublk queue has 1 to {UblkAbi.UBLK_MAX_QUEUE_DEPTH} entries, not {depth}.");
        }

        return new UblkSpec(
            spec.Options.GetValueOrDefault("copy-mode", "auto"),
            spec.Options.TryGetValue("unprivileged", out string? unprivileged) && unprivileged is "" or "true",
            queues,
            depth,
            spec.Options.TryGetValue("max-io", out string? size) ? ParseSize(size) : null,
            spec.Options.TryGetValue("number", out string? number) ? ParseNumber(number) : null,
            spec.Options.GetValueOrDefault("recovery", "wait") == "fail");
    }

    private static uint ParseNumber(string text) =>
        uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out uint number) && number < 1u << 20
            ? number
            : throw new FrontendOptionException($"'{text}' is no device number: use 0 to {(1 << 20) - 1}.");

    private static int ParseSize(string text)
    {
        (string suffix, int unit)[] units = [("MiB", 1 << 20), ("KiB", 1 << 10), ("M", 1 << 20), ("K", 1 << 10), ("", 1)];
        foreach ((string suffix, int unit) in units)
        {
            if (text.EndsWith(suffix, StringComparison.OrdinalIgnoreCase)
                && long.TryParse(text.AsSpan(0, text.Length - suffix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out long value)
                && value is > 0 and <= int.MaxValue && value * unit <= UblkAbi.MaxIoBytes)
            {
                return (int)(value * unit);
            }
        }

        throw new FrontendOptionException($"'{text}' is no request size: write it like 512KiB or 1MiB, at most 32MiB.");
    }
}
