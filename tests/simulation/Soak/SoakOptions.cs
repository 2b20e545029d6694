using System.Globalization;
using Polyblk.Simulation.Tests.Lives;

namespace Polyblk.Simulation.Tests.Soak;

/// <summary>What a soak is told. tests/simulation/soak describes it.</summary>
internal sealed record SoakOptions
{
    private const int DefaultMinutes = 10;

    /// <summary>For how long no end of it is put; null when lives are counted.</summary>
    public TimeSpan? Time { get; private init; }

    /// <summary>The most lives.</summary>
    public ulong Lives { get; private init; } = long.MaxValue;

    /// <summary>Which seeds.</summary>
    public SoakSeeds Seeds { get; private init; }

    /// <summary>Processes that live at a time.</summary>
    public int Jobs { get; private init; } = Environment.ProcessorCount;

    /// <summary>How many lost lives end it.</summary>
    public int Losses { get; private init; } = 1;

    /// <summary>How often it says what it has reached.</summary>
    public TimeSpan Every { get; private init; } = TimeSpan.FromMinutes(1);

    /// <summary>Reads the command's arguments.</summary>
    /// <exception cref="FormatException">One of them is not as it must be.</exception>
    public static SoakOptions Parse(string[] args)
    {
        var options = new SoakOptions();
        ulong seed = 0;
        int? level = null;
        for (int i = 0; i < args.Length; i += 2)
        {
            string value = i + 1 < args.Length ? args[i + 1] : throw new FormatException($"{args[i]} needs a value");
            switch (args[i])
            {
                case "--level":
                    level = LevelOf(value);
                    break;
                case "--seed":
                    seed = Number(args[i], value, least: 0);
                    break;
                default:
                    options = options.With(args[i], value);
                    break;
            }
        }

        bool isBounded = options.Time is not null || options.Lives != long.MaxValue;
        return options with
        {
            Seeds = new SoakSeeds(seed, level),
            Time = isBounded ? options.Time : TimeSpan.FromMinutes(DefaultMinutes),
        };
    }

    private SoakOptions With(string option, string value) => option switch
    {
        "--minutes" => this with { Time = TimeSpan.FromMinutes(Number(option, value)) },
        "--lives" => this with { Lives = Number(option, value) },
        "--jobs" => this with { Jobs = (int)Number(option, value) },
        "--losses" => this with { Losses = (int)Number(option, value) },
        "--every" => this with { Every = TimeSpan.FromSeconds(Number(option, value)) },
        _ => throw new FormatException($"there is no option {option}"),
    };

    private static int? LevelOf(string value) =>
        value == "all" ? null
        : LifePlan.IndexOf(value) ?? throw new FormatException($"--level is one of all, {string.Join(", ", LifePlan.LevelNames)}");

    private static ulong Number(string option, string value, ulong least = 1) =>
        ulong.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out ulong number) && number >= least && number <= int.MaxValue
            ? number
            : throw new FormatException($"{option} needs a number from {least} on");
}
