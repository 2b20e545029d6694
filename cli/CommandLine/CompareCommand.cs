using System.CommandLine;
using System.Globalization;
using Polyblk.Cli.Output;
using Polyblk.Compare.Guest;
using Polyblk.Compare.Load;
using Polyblk.Compare.Load.Fio;
using Polyblk.Compare.Measurement;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Report;
using Polyblk.Compare.Results;
using Polyblk.Compare.Running;
using Polyblk.Compare.Verdict;
using Polyblk.Compare.Workloads;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Frontends;
using Polyblk.Host;
using Polyblk.Host.Serving;
using Polyblk.Host.Volumes;
using Polyblk.Machine;
using Spectre.Console;

namespace Polyblk.Cli.CommandLine;

/// <summary>
/// <c>polyblk compare [VOLUME]</c>: measures the ways of attaching a volume side by side, on scratch files or on a volume of the
/// user's.
/// </summary>
internal sealed class CompareCommand(IEnumerable<IFrontend> frontends) : ICliCommand
{
    private const int MostCpusOfASide = 8;
    private const int LeastColumns = 20;
    private const string ArrayId = "array@host";

    /// <summary>
    /// Each start of fio takes half a second, twelve times for a method: these two would take the quick preset beyond its minute.
    /// </summary>
    private static readonly string[] s_tooLongForQuick = ["nbd-drive@host", "qemu-storage-daemon-nbd-drive@host"];

    private readonly CompareOptions _options = new();
    private readonly CompareGuestOptions _guestOptions = new();

    public Command Build()
    {
        var command = new Command("compare", "Measure the ways of attaching a volume side by side. Without VOLUME on scratch files, which needs no preparation; a volume of yours is only read.");
        command.Arguments.Add(_options.Volume);
        foreach (Option option in _options.All.Concat(_guestOptions.All))
        {
            command.Options.Add(option);
        }

        command.SetAction(RunAsync);
        HelpWithExamples.Add(
            command, "polyblk compare", "polyblk compare --full --out results",
            "# a volume of yours, without a write to it", "polyblk compare data --out results",
            "# workloads of your own, on some methods", "polyblk compare --fio my.fio --methods ublk,nbd --runtime 10",
            "# every method, also where this host's kernel lacks some", "polyblk compare --inside-guest --out results",
            "polyblk compare --diff old/results.json new/results.json");
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        Terminal terminal = CommandSettings.Terminal(parsed);
        if (_options.Difference(parsed) is (string before, string after))
        {
            return await ShowDifferenceAsync(terminal, before, after, cancellation).ConfigureAwait(false);
        }

        _options.CheckResultPlaces(parsed);

        // From the first device or folder that is made until the last file is written, whatever kind of comparison it is.
        using var interruption = new Interruption();
        CompareGuestRequest guest = _guestOptions.Read(parsed);
        (string Name, bool DestroyData)? named = _options.VolumeOf(parsed);
        if (named is not null && (guest.IsInside || guest.SshDestination is not null))
        {
            throw RefusalException.Invalid("The drives of a volume of yours are here: --inside-guest and --guest-ssh are for scratch volumes, leave VOLUME out. --vantage guest measures it from a virtual machine.");
        }

        (IReadOnlyList<int> target, IReadOnlyList<int> load) = SplitProcessors(CpuSet.Allowed().Cpus);
        if (guest.IsInside)
        {
            // What the inner program would refuse is refused before a machine is booted.
            _ = await _options.ReadAsync(parsed, null, load.Count, interruption.Token).ConfigureAwait(false);
            _ = await ReadLoadAsync(terminal, interruption.Token).ConfigureAwait(false);
            return await new CompareInsideGuest(terminal, guest).RunAsync(parsed, _guestOptions.OfTheMachine, interruption).ConfigureAwait(false);
        }

        if (await new Leftovers(Self()).RemoveAsync(_options.Directory(parsed)).ConfigureAwait(false) is string removed)
        {
            terminal.Note(removed);
        }

        using CompareVolume? volume = named is null ? null
            : await CompareVolume.OpenAsync(CommandSettings.Directories(parsed), named.Value.Name, named.Value.DestroyData, terminal.Warn, interruption.Token).ConfigureAwait(false);
        CompareRequest request = await _options.ReadAsync(parsed, volume?.Volume, load.Count, interruption.Token).ConfigureAwait(false);
        ForeignLoad loadBefore = await ReadLoadAsync(terminal, interruption.Token).ConfigureAwait(false);
        ComparisonResults results;
        IReadOnlyList<IDeliveryMethod> methods;
        MachineCache.OnProgress = terminal.Note;
        using (ScratchSpace scratch = volume is not null ? ScratchSpace.ForVolume(volume.Volume, target, load) : MakeScratch(request, guest, target, load))
        {
            methods = Methods(request, guest, volume?.Volume, scratch.IsInMemory, target.Count);
            ComparisonPlan plan = await MakePlanAsync(request, methods, scratch, [.. volume?.Notes ?? [], .. GuestEnvironment.NotesOf(methods)], interruption.Token).ConfigureAwait(false)
                with { LoadBefore = loadBefore };
            if (!request.IsQuick)
            {
                terminal.WriteLine(Estimate(plan));
            }

            results = await RunWithProgressAsync(terminal, plan, scratch, _guestOptions.HasProgressLines(parsed), interruption.Token).ConfigureAwait(false);
        }

        await WriteReportAsync(
            terminal, request, CompareReport.Record(results, request, volume, methods, frontends), parsed.GetValue(CommandSettings.Verbose)).ConfigureAwait(false);
        return results.Interrupted ? ExitCode.Interrupted
            : HasFailures(results) ? ExitCode.Failed
            : ExitCode.Ok;
    }

    /// <summary>
    /// What others take of the processors. A user who would get figures without a verdict is told before they are measured.
    /// </summary>
    private static async Task<ForeignLoad> ReadLoadAsync(Terminal terminal, CancellationToken cancellation)
    {
        ForeignLoad load = await ForeignLoad.ReadAsync(cancellation).ConfigureAwait(false);
        if (BusyMachine.Warning(load) is string warning)
        {
            terminal.Warn(warning);
        }

        return load;
    }

    /// <summary>
    /// Whether a method that was started did not keep its data, ended early, or had runs or requests that failed.
    /// </summary>
    private static bool HasFailures(ComparisonResults results) =>
        results.Methods.Any(m => m is { Ran: false, Load: not null } or { Ran: true, Reason: not null }) || results.FailedRuns.Count > 0 || results.Runs.Any(r => r.Load.Errors > 0);

    private static async Task WriteReportAsync(Terminal terminal, CompareRequest request, Comparison comparison, bool isVerbose)
    {
        terminal.Ansi.Profile.Width = ColumnsOf(terminal);
        new TableReport(terminal.Ansi, comparison, isVerbose).Write(request.Purpose);

        // Also what was measured until an interruption: no cancellation here.
        if (request.OutDirectory is string directory)
        {
            IReadOnlyList<string> files = await ReportFiles.WriteAsync(comparison, directory, request.Purpose, CancellationToken.None).ConfigureAwait(false);
            terminal.WriteLine($"Written: {string.Join(", ", files)}");
        }

        if (request.JsonFile is string file)
        {
            await File.WriteAllTextAsync(file, ComparisonFile.ToJson(comparison), CancellationToken.None).ConfigureAwait(false);
            terminal.WriteLine($"Written: {file}");
        }
    }

    /// <summary>
    /// The width that the environment names (COLUMNS), which holds for what is no terminal too: a machine's output, a document.
    /// Else the terminal's.
    /// </summary>
    internal static int ColumnsOf(Terminal terminal) =>
        int.TryParse(Environment.GetEnvironmentVariable("COLUMNS"), CultureInfo.InvariantCulture, out int columns) && columns >= LeastColumns
            ? columns : terminal.Ansi.Profile.Width;

    private static async Task<int> ShowDifferenceAsync(Terminal terminal, string before, string after, CancellationToken cancellation)
    {
        try
        {
            Comparison a = await ComparisonFile.ReadAsync(before, cancellation).ConfigureAwait(false);
            Comparison b = await ComparisonFile.ReadAsync(after, cancellation).ConfigureAwait(false);
            terminal.WriteLine(ComparisonDiff.Of(a, b).ToText());
            return ExitCode.Ok;
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new RefusalException(RefusalKind.NotFound, e.Message, e);
        }
        catch (Exception e) when (e is ComparisonFormatException or IOException or UnauthorizedAccessException)
        {
            throw new RefusalException(RefusalKind.Invalid, e.Message, e);
        }
    }

    /// <summary>
    /// Target and load never share a processor where there are two; each side has up to half of them and at most eight. With more
    /// than four, one is left for the rest.
    /// </summary>
    internal static (IReadOnlyList<int> Target, IReadOnlyList<int> Load) SplitProcessors(IReadOnlyList<int> cpus)
    {
        int each = Math.Min(MostCpusOfASide, (cpus.Count > 4 ? cpus.Count - 1 : cpus.Count) / 2);
        return cpus.Count == 1 ? (cpus, cpus) : ([.. cpus.TakeLast(2 * each).Take(each)], [.. cpus.TakeLast(each)]);
    }

    private ScratchSpace MakeScratch(CompareRequest request, CompareGuestRequest guest, IReadOnlyList<int> target, IReadOnlyList<int> load)
    {
        int files = Methods(request, guest, null, isInMemory: false, target.Count).Where(m => m.Check().CanRun).DistinctBy(m => m.Drives).Sum(m => m.Facts.Backing == Backing.Volume ? request.Members : 1);
        try
        {
            return ScratchSpace.Create(request.Directory, request.MemberBytes, request.Members, files, target, load);
        }
        catch (MethodException e)
        {
            throw new RefusalException(RefusalKind.HostLacks, e.Message, e);
        }
    }

    private IReadOnlyList<IDeliveryMethod> Methods(CompareRequest request, CompareGuestRequest guest, ComparedVolume? volume, bool isInMemory, int targetCpus)
    {
        PolyblkProgram program = Self();
        IDeliveryMethod[] all = volume is not null ? OfVolume(guest, volume, program, targetCpus) :
        [
            .. guest.Vantages.SelectMany(v => v == Vantage.Host
                ? new CompareMethods(frontends, program, request.Level, Math.Max(2, targetCpus)).Host(isInMemory)
                : new CompareGuestMethods(frontends, program, request.Level, guest).All()),
            .. CompareGuestMethods.Ssh(frontends, guest),
        ];
        IDeliveryMethod baseline = BaselineOf(request, all);
        IDeliveryMethod[] wanted =
        [
            baseline,
            .. all.Where(m => m != baseline && (request.Methods.Count == 0
                ? !request.IsQuick || IsInQuick(m.Facts)
                : request.Methods.Any(w => m.Facts.Id.Contains(w, StringComparison.OrdinalIgnoreCase)))),
        ];
        foreach (GuestMethod method in wanted.OfType<GuestMethod>())
        {
            method.Join();
        }

        return wanted.Length > 1 ? wanted
            : throw RefusalException.Invalid($"No method has one of these words in its id: {string.Join(", ", request.Methods)}. There are {string.Join(", ", all.Select(m => m.Facts.Id))}.");
    }

    private static bool IsInQuick(MethodFacts facts) => (facts.Role != MethodRole.Bare || facts.Id == ArrayId) && !s_tooLongForQuick.Contains(facts.Id);

    /// <summary>
    /// What is measured of a volume of the user's; its drives and its array, from the host, whatever the vantage.
    /// </summary>
    private IDeliveryMethod[] OfVolume(CompareGuestRequest guest, ComparedVolume volume, PolyblkProgram program, int targetCpus)
    {
        IReadOnlyList<IDeliveryMethod> host = new CompareMethods(frontends, program, volume.Level, Math.Max(2, targetCpus)).OfVolume(volume);
        return
        [
            .. guest.Vantages.Contains(Vantage.Host) ? host : host.Where(m => m.Facts.Role == MethodRole.Bare),
            .. guest.Vantages.Contains(Vantage.Guest) ? new CompareGuestMethods(frontends, program, volume.Level, guest).OfVolume(volume) : [],
        ];
    }

    /// <summary>
    /// What ratios refer to: the first method, unless it has none of the workloads: fio alone runs job files, and a file system
    /// needs a block device.
    /// </summary>
    private static IDeliveryMethod BaselineOf(CompareRequest request, IDeliveryMethod[] all)
    {
        Workload[] measured = [.. request.Workloads.Where(w => w.LeftOut is null)];
        string? id = measured.All(w => w.FileSystem is not null) ? "loop@host" : measured.All(w => w.FileSystem is not null || w.FioJobText is not null) ? BareFile.FioId : null;
        return all.FirstOrDefault(m => m.Facts.Id == id && m.Check().CanRun) ?? all[0];
    }

    private static async Task<ComparisonPlan> MakePlanAsync(
        CompareRequest request, IReadOnlyList<IDeliveryMethod> methods, ScratchSpace scratch, IReadOnlyList<string> notes, CancellationToken cancellation)
    {
        FioProgram? fio = await FioProgram.TryFindAsync(scratch.PathOf("calibrate"), cancellation).ConfigureAwait(false);
        (TimeSpan duration, TimeSpan warmUp) = CompareTimes.Fit(request, methods);
        return new ComparisonPlan
        {
            Methods = methods,
            Loads = [.. fio is null ? [] : new ILoadGenerator[] { new FioLoad(fio, scratch) }, new VhostUserLoad(), new DriveLoad(), new GuestFioLoad()],
            Workloads = [.. request.Workloads.Select(w => w.FittedTo(scratch.SpanBytes))],
            Baseline = methods[0].Name,
            Rounds = request.Rounds,
            Duration = duration,
            WarmUp = warmUp,
            Restarts = request.Restarts,
            Efficiency = request.Level == VolumeOpener.NoLevel ? null : new EfficiencyPlan(new CompareArrays(), request.Level, request.SimulatedDrives, request.SimulatedSpeed),
            Notes = notes,
        };
    }

    private static string Estimate(ComparisonPlan plan)
    {
        int methods = plan.Methods.Count(m => m.Check().CanRun);
        int workloads = plan.Workloads.Count(w => w.LeftOut is null);
        TimeSpan all = CompareTimes.Estimate(methods, workloads, plan.Rounds, plan.Duration, plan.WarmUp);
        string scaled = string.Join("; ", plan.Workloads.Select(w => w.Scaling).Where(s => s is not null).Distinct());
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{methods} methods, {workloads} workloads, {plan.Rounds} rounds of {plan.Duration.TotalSeconds:0.##} s: about {Math.Ceiling(all.TotalMinutes)} minutes.{(scaled.Length > 0 ? $" Scaled to this machine: {scaled}." : string.Empty)}");
    }

    /// <summary>How this program was started: its own executable, or dotnet with its assembly.</summary>
    private static PolyblkProgram Self()
    {
        string executable = Environment.ProcessPath!;
        string[] command = Path.GetFileNameWithoutExtension(executable) == "dotnet" ? [executable, Path.Combine(AppContext.BaseDirectory, "polyblk.dll")] : [executable];
        return new PolyblkProgram(command, async arguments =>
        {
            await using var output = new StringWriter(CultureInfo.InvariantCulture);
            await using var errors = new StringWriter(CultureInfo.InvariantCulture);
            int exitCode = await CliProgram.RunAsync(arguments, output, errors).ConfigureAwait(false);
            return (exitCode, output.ToString(), errors.ToString());
        });
    }

    private static async Task<ComparisonResults> RunWithProgressAsync(
        Terminal terminal, ComparisonPlan plan, ScratchSpace scratch, bool inLines, CancellationToken cancellation)
    {
        if (inLines || !terminal.IsInteractive)
        {
            Action<ComparisonProgress> say = inLines ? p => terminal.WriteLine(new ProgressLine(p.Done, p.Total, p.What).ToString()) : _ => { };
            return await new ComparisonRunner(plan, scratch, say).RunAsync(cancellation).ConfigureAwait(false);
        }

        return await terminal.Ansi.Progress().AutoClear(true).StartAsync(async context =>
        {
            ProgressTask bar = context.AddTask("starting");
            var runner = new ComparisonRunner(plan, scratch, progress =>
            {
                bar.Description = Markup.Escape(progress.What);
                bar.MaxValue = progress.Total;
                bar.Value = progress.Done;
            });
            return await runner.RunAsync(cancellation).ConfigureAwait(false);
        }).ConfigureAwait(false);
    }
}
