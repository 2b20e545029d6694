// polyblk against qemu-storage-daemon, side by side, over vhost-user with a driver that belongs to neither (libblkio, polling).
//
// Method: every target of a case is up during the whole case; a round runs each of them once; rounds are repeated and the order
// is turned round each time, so that drift of the machine meets all alike. Figures are medians over the rounds with their spread;
// ratios are medians of the ratios within one round. Target and load have processors of their own.

using System.CommandLine;
using System.Text.Json;
using Polyblk.Bench;
using Spectre.Console;

switch (args)
{
    case ["load", ..]:
        LoadRun.RunLoad(args[1..]);
        return 0;
    case ["fill", ..]:
        LoadRun.RunFill(args[1..]);
        return 0;
    case ["serve-degraded", string socket, string cpu, string members, string memberBytes]:
        await DegradedArray.ServeAsync(socket, cpu, members, memberBytes);
        return 0;
}

var rounds = new Option<int>("--rounds") { Description = "Rounds; medians are taken over them.", DefaultValueFactory = _ => 5 };
var seconds = new Option<double>("--seconds") { Description = "Seconds a run.", DefaultValueFactory = _ => 1 };
var only = new Option<string[]>("--case") { Description = "Only cases whose name starts so.", AllowMultipleArgumentsPerToken = true };
var loads = new Option<string[]>("--load") { Description = "Only workloads whose name starts so.", AllowMultipleArgumentsPerToken = true };
var targetCpus = new Option<string>("--target-cpus") { Description = "Processors of the targets.", DefaultValueFactory = _ => "0" };
var loadCpus = new Option<string>("--load-cpus") { Description = "Processors of the load.", DefaultValueFactory = _ => "1" };
var devices = new Option<string[]>("--block") { Description = "Pairs of block devices (for polyblk, for the peer); their content is lost.", AllowMultipleArgumentsPerToken = true };
var against = new Option<string[]>("--against")
{
    Description = "NAME=PROGRAM: measure against this build of polyblk, instead of against the peer.", AllowMultipleArgumentsPerToken = true,
};
var json = new Option<FileInfo?>("--json") { Description = "Write every single figure to this file." };
var repository = new Option<string>("--repository") { Description = "Root of the repository.", DefaultValueFactory = _ => Directory.GetCurrentDirectory() };
var root = new RootCommand("Benchmark of the vhost-user frontend against qemu-storage-daemon.") { rounds, seconds, only, loads, targetCpus, loadCpus, devices, against, json, repository };
root.SetAction(parsed =>
{
    // Tables go into files and documents: no wrapping at the width of a terminal.
    AnsiConsole.Profile.Width = 200;
    using var paths = new BenchPaths(parsed.GetValue(repository)!);
    var results = new List<Measurement>();
    string[] wantedCases = parsed.GetValue(only) ?? [];
    string[] wantedLoads = parsed.GetValue(loads) ?? [];
    KeyValuePair<string, string>[] builds = [.. (parsed.GetValue(against) ?? []).Select(b => b.Split('=', 2)).Select(b => KeyValuePair.Create(b[0], b[1]))];
    IEnumerable<Case> cases = Suite.Build(paths, parsed.GetValue(devices) ?? []);
    foreach (Case each in builds.Length == 0 ? cases : Suite.OfBuilds(cases, builds))
    {
        if (wantedCases.Length == 0 || wantedCases.Any(w => each.Name.StartsWith(w, StringComparison.Ordinal)))
        {
            var runner = new CaseRunner(paths, parsed.GetValue(targetCpus)!, parsed.GetValue(loadCpus)!, parsed.GetValue(rounds), parsed.GetValue(seconds));
            results.AddRange(runner.Run(each, wantedLoads));
        }
    }

    if (parsed.GetValue(json) is FileInfo file)
    {
        File.WriteAllText(file.FullName, JsonSerializer.Serialize(results));
        AnsiConsole.MarkupLineInterpolated($"Every figure: {file.FullName}");
    }

    return 0;
});
return root.Parse(args).Invoke();
