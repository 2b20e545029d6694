using System.CommandLine;
using Polyblk.Compare.Load;
using Polyblk.Compare.Load.Fio;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Running;
using Polyblk.Compare.Verdict;
using Polyblk.Compare.Workloads;
using Polyblk.Drives;
using Polyblk.Host;
using Polyblk.Host.Volumes;
using Polyblk.Raid.Layout;

namespace Polyblk.Cli.CommandLine;

/// <summary>The options of <c>polyblk compare</c>, and what they say.</summary>
internal sealed class CompareOptions
{
    private const int DefaultRounds = 3;
    private const long DefaultMemberBytes = 128L << 20;
    private const long SmallestMemberBytes = 16L << 20;

    private const string No = "false";

    private static readonly Dictionary<string, string?> s_switches =
        new(StringComparer.OrdinalIgnoreCase) { ["true"] = "true", [No] = No };

    private static readonly Dictionary<string, Purpose?> s_purposes =
        Enum.GetValues<Purpose>().ToDictionary(
            p => p.ToString().ToLowerInvariant(), p => (Purpose?)p, StringComparer.OrdinalIgnoreCase);

    private readonly Option<string?> _preset = new("--preset")
    {
        HelpName = string.Join('|', Presets.Names), Description = "Which workloads. [default: quick]",
    };

    private readonly Option<bool> _quick = new("--quick") { Description = "The same as --preset quick: four workloads, in under a minute." };
    private readonly Option<bool> _full = new("--full") { Description = "The same as --preset full: all published workloads without a file system. Takes long; how long is said." };
    private readonly Option<string[]> _fio = new("--fio")
    {
        HelpName = "FILE", Description = "Run this fio job file as a workload, on every method that fio drives. May be given several times; alone it replaces the preset.", Arity = ArgumentArity.ZeroOrMore,
    };

    private readonly Option<string?> _workloads = new("--workloads")
    {
        HelpName = "WORD,...", Description = "Only workloads whose name contains one of the words, such as randread or qd32.",
    };

    private readonly Option<int> _rounds = new("--rounds")
    {
        HelpName = "N", Description = "How often everything is measured; medians are shown.", DefaultValueFactory = _ => DefaultRounds,
    };

    private readonly Option<double?> _runtime = new("--runtime", "--seconds")
    {
        HelpName = "S", Description = "Counted seconds of one run. [default: quick so long that all takes about 45 seconds, otherwise 3]",
    };

    private readonly Option<int?> _jobs = new("--jobs")
    {
        HelpName = "N", Description = "Most jobs of a workload; published ones with more are scaled down, and that is said. [default: a job for each processor of the load, at least 2]",
    };

    private readonly Option<string?> _methods = new("--methods")
    {
        HelpName = "WORD,...", Description = "Only methods whose id contains one of the words, and the baseline: vhost-user, nbd, ublk, vduse, array, loop, mdadm, qemu.",
    };

    // A word, since the parser takes a word that is no truth value for the next argument: "maybe" would be a volume.
    private readonly Option<string?> _restarts = new("--restarts")
    {
        HelpName = "true|false",
        Description = "Kill each target under load and time the gap. [default: true]",
        CustomParser = result => Choose(result, "--restarts", s_switches),
    };

    private readonly Option<int> _simulated = new("--simulated")
    {
        HelpName = "N", Description = "Simulated drives of a given speed for the RAID efficiency; 0 leaves that out.", DefaultValueFactory = _ => 24,
    };

    private readonly Option<string> _speed = new("--simulated-speed")
    {
        HelpName = "OPTIONS", Description = "Speed of a simulated drive, as options of a sim: drive.", DefaultValueFactory = _ => EfficiencyPlan.DefaultDriveOptions,
    };

    private readonly Option<string> _level = new("--level") { HelpName = "raid0|raid1|raid10|raid5|raid6", Description = "Level of the scratch volume.", DefaultValueFactory = _ => "raid5" };
    private readonly Option<int> _members = new("--members") { HelpName = "N", Description = "Members of the scratch volume.", DefaultValueFactory = _ => 3 };
    private readonly Option<long?> _memberSize = CommandSettings.Size("--member-size", "Size of each scratch file. [default: 128MiB]");
    private readonly Option<string?> _directory = new("--dir")
    {
        HelpName = "DIR", Description = "Where the scratch files go; with --inside-guest they are on a disk of the machine, whose image goes there. [default: /dev/shm, /var/tmp or the temporary directory, where there is room]",
    };

    private readonly Option<Purpose?> _purpose = new("--for")
    {
        HelpName = "vm|container|shared", Description = "What the volume is for: whose verdict is printed and comes first in the report. [default: vm]",
        CustomParser = result => Choose(result, "--for", s_purposes),
    };

    private readonly Option<string?> _out = new("--out") { HelpName = "DIR", Description = "Write results.json, results.csv and report.html to DIR." };
    private readonly Option<string?> _json = new("--json") { HelpName = "FILE", Description = "Write results.json to FILE (docs/compare-results.schema.json)." };
    private readonly Option<string[]> _diff = new("--diff")
    {
        HelpName = "A.json B.json", Description = "Measure nothing; show what changed between two results.json files.", Arity = new ArgumentArity(2, 2), AllowMultipleArgumentsPerToken = true,
    };

    private readonly Argument<string?> _volume = new("VOLUME")
    {
        Description = "A volume of yours (polyblk volume list) to measure, by reading alone; without one, scratch volumes are made and measured.", Arity = ArgumentArity.ZeroOrOne,
    };

    private readonly Option<bool> _destroyData = new("--destroy-data")
    {
        Description = "With VOLUME: also run the workloads that write, and kill targets under load. EVERYTHING ON THE VOLUME IS LOST.",
    };

    /// <summary>The volume, if one is named.</summary>
    public Argument<string?> Volume => _volume;

    /// <summary>All of them.</summary>
    public IReadOnlyList<Option> All => [_destroyData, _preset, _quick, _full, _fio, _workloads, _rounds, _runtime, _jobs, _methods, _restarts, _simulated, _speed, _level, _members, _memberSize, _directory, _purpose, _out, _json, _diff];

    /// <summary>One of a few words, in any case; what is none of them is told with all of them.</summary>
    private static T? Choose<T>(System.CommandLine.Parsing.ArgumentResult result, string option, Dictionary<string, T?> words)
    {
        string text = result.Tokens[0].Value;
        if (words.TryGetValue(text, out T? value))
        {
            return value;
        }

        result.AddError($"{option} takes {string.Join(" or ", words.Keys)}, not '{text}'.");
        return default;
    }

    /// <summary>The two files of --diff; null when it is not given.</summary>
    public (string Before, string After)? Difference(ParseResult parsed) => parsed.GetValue(_diff) is [string before, string after] ? (before, after) : null;

    /// <summary>Where scratch files shall go; null for the usual places.</summary>
    public string? Directory(ParseResult parsed) => parsed.GetValue(_directory);

    /// <summary>Sees to it that the result files can be written, before hours of measuring.</summary>
    /// <exception cref="RefusalException">They cannot.</exception>
    public void CheckResultPlaces(ParseResult parsed)
    {
        if (parsed.GetValue(_out) is string directory)
        {
            CheckPlace("--out", directory, () =>
            {
                System.IO.Directory.CreateDirectory(directory);
                CheckFile(Path.Combine(directory, $"results.json.{Environment.ProcessId}.tmp"));
            });
        }

        if (parsed.GetValue(_json) is string file)
        {
            CheckPlace("--json", file, () => CheckFile(file));
        }
    }

    /// <summary>Opens a file for writing; what is in it stays, and one that was not there goes.</summary>
    private static void CheckFile(string path)
    {
        bool isNew = !File.Exists(path);
        File.OpenHandle(path, FileMode.OpenOrCreate, FileAccess.Write, FileShare.ReadWrite).Dispose();
        if (isNew)
        {
            File.Delete(path);
        }
    }

    private static void CheckPlace(string option, string path, Action check)
    {
        try
        {
            check();
        }
        catch (DirectoryNotFoundException e)
        {
            throw new RefusalException(RefusalKind.NotFound, $"{option} {path} cannot be written: {e.Message}", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new RefusalException(RefusalKind.HostLacks, $"{option} {path} cannot be written: {e.Message}", e);
        }
    }

    /// <summary>The volume that is named, and whether its data may be destroyed; null without one.</summary>
    /// <exception cref="RefusalException">Options do not go together.</exception>
    public (string Name, bool DestroyData)? VolumeOf(ParseResult parsed)
    {
        bool destroy = parsed.GetValue(_destroyData);
        if (parsed.GetValue(_volume) is not string name)
        {
            Check(!destroy, "--destroy-data is about a volume of yours: name it, as in 'polyblk compare VOLUME --destroy-data'. Scratch volumes are written to without it.");
            return null;
        }

        Option[] ofScratch = [.. new Option[] { _level, _members, _memberSize, _directory }.Where(o => parsed.GetResult(o) is { Implicit: false })];
        Check(ofScratch.Length == 0, $"{string.Join(", ", ofScratch.Select(o => o.Name))} describe scratch volumes; '{name}' is as it is.");
        return (name, destroy);
    }

    /// <summary>What was asked for.</summary>
    /// <exception cref="RefusalException">It is not possible; the message says what is.</exception>
    public async Task<CompareRequest> ReadAsync(ParseResult parsed, ComparedVolume? volume, int loadCpus, CancellationToken cancellation)
    {
        Option[] given = [.. new Option[] { _preset, _quick, _full }.Where(o => parsed.GetResult(o) is { Implicit: false })];
        Check(given.Length <= 1, $"{string.Join(" and ", given.Select(o => o.Name))} choose the workloads in different ways: give one of them.");
        string? preset = parsed.GetValue(_preset) ?? (parsed.GetValue(_full) ? "full" : parsed.GetValue(_quick) ? "quick" : null);
        if (preset is not null && !Presets.Names.Contains(preset))
        {
            throw RefusalException.Invalid($"There is no preset '{preset}'. Use one of {string.Join(", ", Presets.Names)}.");
        }

        int jobs = parsed.GetValue(_jobs) ?? Math.Max(2, loadCpus);
        Check(jobs is >= 1 and <= 256, "--jobs takes a number from 1 to 256.");
        Workload[] custom = await ReadJobFilesAsync(parsed.GetValue(_fio) ?? [], cancellation).ConfigureAwait(false);
        Workload[] all = [.. preset is null && custom.Length > 0 ? [] : Presets.Get(preset ?? "quick", jobs), .. custom];
        string? twice = all.GroupBy(w => w.Name).FirstOrDefault(g => g.Count() > 1)?.Key;
        Check(twice is null, $"Two workloads would be called '{twice}': a fio job file is called by its name without the folder and the ending, and results refer to it by that. Rename the file.");
        string[] words = Words(parsed.GetValue(_workloads));
        Workload[] wanted = [.. all.Where(w => words.Length == 0 || words.Any(word => w.Name.Contains(word, StringComparison.OrdinalIgnoreCase)))];
        Check(wanted.Length > 0, $"No workload has one of these words in its name: {string.Join(", ", words)}. There are {string.Join(", ", all.Select(w => w.Name))}.");
        var request = new CompareRequest
        {
            Workloads = [.. wanted.Select(w => Allow(w, volume))],
            IsQuick = custom.Length == 0 && preset is null or "quick",
            Rounds = parsed.GetValue(_rounds),
            RuntimeSeconds = parsed.GetValue(_runtime),
            Methods = Words(parsed.GetValue(_methods)),
            Restarts = volume?.Kept is null && parsed.GetValue(_restarts) != No,
            SimulatedDrives = volume?.Level == VolumeOpener.NoLevel ? 0 : parsed.GetValue(_simulated),
            SimulatedSpeed = Speed(parsed.GetValue(_speed)!),
            Level = volume?.Level ?? parsed.GetValue(_level)!,
            Members = volume?.Members ?? parsed.GetValue(_members),
            MemberBytes = parsed.GetValue(_memberSize) ?? DefaultMemberBytes,
            Directory = parsed.GetValue(_directory),
            Purpose = parsed.GetValue(_purpose) ?? Purpose.Vm,
            OutDirectory = parsed.GetValue(_out),
            JsonFile = parsed.GetValue(_json),
        };
        Check(request, isScratch: volume is null);
        return request;
    }

    private static Workload Allow(Workload workload, ComparedVolume? volume) =>
        volume?.Kept is KeptContent kept && workload.Overwrites ? workload with { LeftOut = kept.WhyNoWrites } : workload;

    private static void Check(CompareRequest request, bool isScratch)
    {
        Check(
            request.Workloads.Any(w => w.LeftOut is null),
            $"None of these workloads can be measured: {string.Join("; ", request.Workloads.Select(w => $"{w.Title} is left out, because {w.LeftOut}").Take(1))}.");
        Check(request.Rounds is >= 1 and <= 1000, "--rounds takes a number from 1 to 1000.");
        Check(request.RuntimeSeconds is null or (>= 0.05 and <= 3600), "--runtime takes a number from 0.05 to 3600.");
        int least = request.Level switch
        {
            "raid10" => 4,
            _ => RaidLevels.TryParse(request.Level, out RaidLevel level) ? Math.Max(2, level.MinimumMembers()) : 2,
        };
        Check(request.SimulatedDrives == 0 || (request.SimulatedDrives >= least && request.SimulatedDrives <= 64), $"--simulated takes 0, or a number from {least} to 64 with {request.Level}.");
        if (!isScratch)
        {
            return;
        }

        Check(request.Level is "raid0" or "raid1" or "raid10" or "raid5" or "raid6", "--level takes raid0, raid1, raid10, raid5 or raid6.");
        Check(request.Members >= least && request.Members <= 64, $"--members takes a number from {least} to 64 with {request.Level}.");
        Check(request.MemberBytes >= SmallestMemberBytes && request.MemberBytes % (1 << 20) == 0, "--member-size takes a multiple of 1MiB from 16MiB.");
    }

    private static string[] Words(string? list) => list?.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries) ?? [];

    private static string Speed(string options)
    {
        try
        {
            _ = DriveSpec.Parse($"sim:32MiB,{options}");
            return options;
        }
        catch (FormatException e)
        {
            throw RefusalException.Invalid($"--simulated-speed: {e.Message}");
        }
    }

    private static void Check(bool condition, string message)
    {
        if (!condition)
        {
            throw RefusalException.Invalid(message);
        }
    }

    private static async Task<Workload[]> ReadJobFilesAsync(string[] files, CancellationToken cancellation)
    {
        var workloads = new List<Workload>();
        foreach (string file in files)
        {
            try
            {
                workloads.Add(FioJobFile.Read(Path.GetFileNameWithoutExtension(file), await File.ReadAllTextAsync(file, cancellation).ConfigureAwait(false)));
            }
            catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
            {
                throw RefusalException.NotFound($"There is no fio job file {file}.");
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException)
            {
                throw RefusalException.Invalid($"The fio job file {file} cannot be used: {e.Message}");
            }
        }

        return [.. workloads];
    }
}

/// <summary>What <c>polyblk compare</c> was asked for.</summary>
internal sealed record CompareRequest
{
    public required IReadOnlyList<Workload> Workloads { get; init; }

    /// <summary>Whether it is the comparison that takes less than a minute.</summary>
    public required bool IsQuick { get; init; }

    public required int Rounds { get; init; }

    /// <summary>Null leaves it to the command.</summary>
    public required double? RuntimeSeconds { get; init; }

    /// <summary>Words of the ids of the methods that are wanted; empty for all.</summary>
    public required IReadOnlyList<string> Methods { get; init; }

    public required bool Restarts { get; init; }

    public required int SimulatedDrives { get; init; }

    /// <summary>Options of a <c>sim:</c> drive.</summary>
    public required string SimulatedSpeed { get; init; }

    public required string Level { get; init; }

    public required int Members { get; init; }

    public required long MemberBytes { get; init; }

    public required string? Directory { get; init; }

    public required Purpose Purpose { get; init; }

    public required string? OutDirectory { get; init; }

    public required string? JsonFile { get; init; }
}
