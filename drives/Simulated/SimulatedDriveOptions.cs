using System.Globalization;

namespace Polyblk.Drives.Simulated;

/// <summary>
/// How a simulated drive behaves. In a drive's specification: <c>sim:10GiB,seed=7,latency=20us-200us,write-mbps=500</c>.
/// </summary>
public sealed record SimulatedDriveOptions
{
    /// <summary>Decides every random choice: latencies, errors, what survives a crash. Option <c>seed</c>.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>512 or 4096. Option <c>block-size</c>.</summary>
    public int LogicalBlockSize { get; init; } = 512;

    /// <summary>Shortest latency in nanoseconds. Option <c>latency=50us</c> or <c>latency=20us-200us</c>.</summary>
    public long MinimumLatencyNs { get; init; }

    /// <summary>Longest latency in nanoseconds; evenly spread between the two, so that completions overtake each other.</summary>
    public long MaximumLatencyNs { get; init; }

    /// <summary>Probability of a request that takes <see cref="TailLatencyNs"/> longer. Option <c>tail=0.01:5ms</c>.</summary>
    public double TailProbability { get; init; }

    /// <summary>Additional latency of such a request in nanoseconds.</summary>
    public long TailLatencyNs { get; init; }

    /// <summary>Reads a second; 0 sets no bound. Option <c>read-iops</c>.</summary>
    public double ReadIops { get; init; }

    /// <summary>Writes a second; 0 sets no bound. Option <c>write-iops</c>.</summary>
    public double WriteIops { get; init; }

    /// <summary>Bytes read a second; 0 sets no bound. Option <c>read-mbps</c>, in 10^6 bytes.</summary>
    public double ReadBytesPerSecond { get; init; }

    /// <summary>Bytes written a second; 0 sets no bound. Option <c>write-mbps</c>, in 10^6 bytes.</summary>
    public double WriteBytesPerSecond { get; init; }

    /// <summary>Probability that a request fails with EIO. Option <c>error-rate</c>.</summary>
    public double ErrorProbability { get; init; }

    /// <summary>Whether writes are lost in a crash unless flushed. Option <c>cache=on|off</c>.</summary>
    public bool VolatileCache { get; init; } = true;

    /// <summary>
    /// Whether the drive remembers what was not flushed, so that it can crash. Costs a copy of each write, and locks. Option
    /// <c>crash=on|off</c>, off there.
    /// </summary>
    public bool CanCrash { get; init; } = true;

    /// <summary>Unit in which a write may be torn in a crash: 512 or 4096. Option <c>tear</c>.</summary>
    public int TearBytes { get; init; } = 512;

    /// <summary>
    /// Whether latencies pass in virtual time: requests complete in the order of their due times, one a turn, without waiting.
    /// With one reactor the order then depends on the seed alone. Option <c>time=virtual|real</c>.
    /// </summary>
    public bool VirtualTime { get; init; }

    /// <summary>Where the memory comes from, and goes when the drive is disposed; null is the system. For simulations.</summary>
    internal MediumPool? Pool { get; init; }

    /// <summary>Reads the options of a drive's specification.</summary>
    /// <exception cref="FormatException">An option is unknown or its value is none.</exception>
    public static SimulatedDriveOptions Parse(IReadOnlyDictionary<string, string> options)
    {
        ArgumentNullException.ThrowIfNull(options);
        var result = new SimulatedDriveOptions { CanCrash = false };
        foreach ((string name, string value) in options)
        {
            result = name switch
            {
                "seed" => result with { Seed = ulong.TryParse(value, out ulong seed) ? seed : throw Bad(name, value, "a whole number") },
                "latency" => result.WithLatency(value),
                "tail" => result.WithTail(value),
                "read-iops" => result with { ReadIops = Number(name, value) },
                "write-iops" => result with { WriteIops = Number(name, value) },
                "read-mbps" => result with { ReadBytesPerSecond = Number(name, value) * 1e6 },
                "write-mbps" => result with { WriteBytesPerSecond = Number(name, value) * 1e6 },
                "error-rate" => result with { ErrorProbability = Number(name, value) },
                "cache" => result with { VolatileCache = Choice(name, value, "on", "off") },
                "crash" => result with { CanCrash = Choice(name, value, "on", "off") },
                "time" => result with { VirtualTime = Choice(name, value, "virtual", "real") },
                "tear" => result with { TearBytes = Choice(name, value, "4096", "512") ? 4096 : 512 },
                _ => throw new FormatException(
                    $"A simulated drive has no option '{name}'; it has seed, latency, tail, read-iops, write-iops, read-mbps, write-mbps, "
                    + "error-rate, cache, crash, tear, time and block-size."),
            };
        }

        return result;
    }

    private static FormatException Bad(string name, string value, string wanted) => new($"{name}={value}: write {wanted}.");

    private static double Number(string name, string value) =>
        double.TryParse(value, NumberStyles.Float, CultureInfo.InvariantCulture, out double number) && number >= 0 && double.IsFinite(number)
            ? number
            : throw Bad(name, value, "a number");

    private static bool Choice(string name, string value, string yes, string no) =>
        value == yes || (value == no ? false : throw Bad(name, value, $"{yes} or {no}"));

    private static long Time(string name, string value)
    {
        (string unit, double ns)[] units = [("ns", 1), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];
        foreach ((string unit, double ns) in units)
        {
            if (value.EndsWith(unit, StringComparison.Ordinal))
            {
                return (long)(Number(name, value[..^unit.Length]) * ns);
            }
        }

        throw Bad(name, value, "a time such as 50us or 2ms");
    }

    private SimulatedDriveOptions WithLatency(string value)
    {
        string[] ends = value.Split('-');
        long minimum = Time("latency", ends[0]);
        long maximum = Time("latency", ends[^1]);
        return ends.Length <= 2 && minimum <= maximum
            ? this with { MinimumLatencyNs = minimum, MaximumLatencyNs = maximum }
            : throw Bad("latency", value, "a time or a range such as 20us-200us");
    }

    private SimulatedDriveOptions WithTail(string value)
    {
        string[] parts = value.Split(':');
        return parts.Length == 2
            ? this with { TailProbability = Number("tail", parts[0]), TailLatencyNs = Time("tail", parts[1]) }
            : throw Bad("tail", value, "a probability and a time such as 0.01:5ms");
    }
}
