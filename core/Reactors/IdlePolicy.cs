namespace Polyblk.Core.Reactors;

/// <summary>How long a reactor that finds no work keeps polling before it sleeps.</summary>
/// <param name="SpinNs">
/// Nanoseconds of polling without work before the reactor sleeps; 0 sleeps at once, <see cref="long.MaxValue"/> never sleeps.
/// </param>
public sealed record IdlePolicy(long SpinNs)
{
    /// <summary>Never sleeps: least latency, a whole processor for each reactor.</summary>
    public static IdlePolicy Latency { get; } = new(long.MaxValue);

    /// <summary>Polls for 50 microseconds, then sleeps: the default.</summary>
    public static IdlePolicy Balanced { get; } = new(50_000);

    /// <summary>Sleeps as soon as there is nothing to do: least processor time.</summary>
    public static IdlePolicy Frugal { get; } = new(0);

    /// <summary>
    /// Understands <c>latency</c>, <c>balanced</c>, <c>frugal</c>, or a spin time such as <c>20us</c> or <c>1ms</c>.
    /// </summary>
    /// <exception cref="FormatException">The text is none of these.</exception>
    public static IdlePolicy Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        switch (text)
        {
            case "latency": return Latency;
            case "balanced": return Balanced;
            case "frugal": return Frugal;
        }

        (string suffix, long unitNs)[] units = [("ns", 1), ("us", 1_000), ("ms", 1_000_000)];
        foreach ((string suffix, long unitNs) in units)
        {
            if (text.EndsWith(suffix, StringComparison.Ordinal) && long.TryParse(text.AsSpan(0, text.Length - 2), out long value)
                && value is >= 0 and <= 10_000_000)
            {
                return new IdlePolicy(value * unitNs);
            }
        }

        throw new FormatException($"'{text}' is no idle policy: use latency, balanced, frugal, or a spin time such as 20us.");
    }
}
