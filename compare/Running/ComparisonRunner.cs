// Runs a comparison: start every method, verify its data, then measure in interleaved rounds.
//
// In each round every workload runs on every method before the next round begins, and each round starts with another method: a
// machine that becomes slower or faster meanwhile does so for all. Methods that need the same drives take turns (Turns): within a
// round, all workloads of one turn run before the next turn. What fails becomes a reason in the results; it never ends the
// others' runs. A method that says that it serves no more (MethodException.IsFinal), or whose server has ended, keeps the figures
// that it has, and its row says why there are no more. A cancellation ends the run that is under way; what was measured until
// then is kept, and everything that was started is taken down.

using System.Globalization;
using Polyblk.Compare.Load;
using Polyblk.Compare.Measurement;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Restart;
using Polyblk.Compare.Results;
using Polyblk.Compare.Workloads;

namespace Polyblk.Compare.Running;

/// <summary>See the top of the file.</summary>
public sealed class ComparisonRunner(ComparisonPlan plan, ScratchSpace scratch, Action<ComparisonProgress> onProgress)
{
    private static readonly TimeSpan s_endLimit = TimeSpan.FromMinutes(6);

    /// <summary>Shortest run with simulated drives: their queues are deep, and it takes time until they are full.</summary>
    private static readonly TimeSpan s_simulatedRun = TimeSpan.FromMilliseconds(500);

    /// <summary>How much of a user's volume is verified by writing, which would take hours on all of a large one.</summary>
    private const long MostVerifiedBytes = 256L << 20;

    private readonly List<Active> _active = [];
    private readonly HashSet<Active> _serveNoMore = [];
    private readonly Turns _turns = new();
    private Task _ahead = Task.CompletedTask;
    private readonly List<MethodRecord> _methods = [];
    private readonly List<RunRecord> _runs = [];
    private readonly List<FailedRun> _failedRuns = [];
    private readonly List<RestartTest> _restarts = [];
    private readonly List<EfficiencyRow> _efficiency = [];
    private readonly List<MissingRun> _missing = [];
    private readonly HashSet<(string Method, string Workload)> _noted = [];
    private readonly List<string> _notes = [.. plan.Notes];

    /// <summary>Runs it. Returns what was measured, also when it is cancelled.</summary>
    public async Task<ComparisonResults> RunAsync(CancellationToken cancellation)
    {
        DateTimeOffset started = DateTimeOffset.UtcNow;
        bool interrupted = false;
        try
        {
            await StartAllAsync(cancellation).ConfigureAwait(false);
            await MeasureAsync(cancellation).ConfigureAwait(false);
            await MeasureEfficiencyAsync(cancellation).ConfigureAwait(false);
            await RestartAllAsync(cancellation).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            interrupted = true;
        }
        finally
        {
            await EndAllAsync().ConfigureAwait(false);
        }

        AddUnreached();
        _notes.AddRange(RunNotes.Of(_missing, _runs, scratch));
        return new ComparisonResults
        {
            StartedUtc = started,
            Host = HostReader.Read(scratch),
            Settings = new RunSettings(
                plan.Rounds, plan.Duration.TotalSeconds, plan.WarmUp.TotalSeconds, scratch.TargetCpus, scratch.LoadCpus, scratch.SpanBytes, scratch.Members) { Seed = plan.Seed },
            Methods = _methods,
            Workloads = plan.Workloads,
            Runs = _runs,
            FailedRuns = _failedRuns,
            Baseline = plan.Baseline,
            Notes = _notes,
            Restarts = _restarts,
            Efficiency = _efficiency,
            LoadBefore = plan.LoadBefore,
            Interrupted = interrupted,
        };
    }

    private async Task StartAllAsync(CancellationToken cancellation)
    {
        _ahead = StartAheadAsync(cancellation);
        foreach (IDeliveryMethod method in plan.Methods)
        {
            onProgress(new ComparisonProgress(0, TotalRuns, $"starting {method.Name}"));
            MethodAvailability availability = method.Check();
            MethodRecord record = new() { Name = method.Name, Description = method.Description, Ran = false };
            if (!availability.CanRun)
            {
                _methods.Add(record with
                {
                    Reason = availability.Reason, Remedies = availability.Remedies, Undriven = availability.LacksClient ? availability.Reason : null,
                });
                continue;
            }

            _methods.Add(await TryStartAsync(method, record, cancellation).ConfigureAwait(false));
        }
    }

    /// <summary>
    /// Servers start one after the other while methods before them are verified; what fails here fails again where it is told.
    /// </summary>
    private async Task StartAheadAsync(CancellationToken cancellation)
    {
        foreach (IDeliveryMethod method in plan.Methods.Where(m => m.TurnIn(scratch) is null && m.Check().CanRun).TakeWhile(_ => !cancellation.IsCancellationRequested))
        {
            await method.StartAheadAsync(scratch, cancellation).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task<MethodRecord> TryStartAsync(IDeliveryMethod method, MethodRecord record, CancellationToken cancellation)
    {
        IRunningMethod? running = null;
        try
        {
            await _turns.BeginAsync(method.TurnIn(scratch)).ConfigureAwait(false);
            running = await method.StartAsync(scratch, cancellation).ConfigureAwait(false);
            LoadEndpoint endpoint = running.Endpoint;
            if (plan.Loads.FirstOrDefault(l => l.CanDrive(endpoint)) is not ILoadGenerator load)
            {
                string why = $"no client that is installed here can drive it: it takes {endpoint.ClientNeeded}";
                return record with { Reason = why, Undriven = why, Remedies = ["a fio that has it (fio --enghelp lists the engines; that of Debian has it)"] };
            }

            LoadEndpoint verified = scratch.Volume is null ? endpoint : endpoint with { SizeBytes = Math.Min(endpoint.SizeBytes, MostVerifiedBytes) };
            onProgress(new ComparisonProgress(0, TotalRuns, $"verifying {method.Name}"));
            ulong seed = plan.Seed + (ulong)_methods.Count;
            record = record with { Load = load.NameFor(endpoint), Commands = [.. running.Commands, load.VerifyCommands(verified, seed)] };
            string? problem = await load.VerifyAsync(verified, seed, cancellation).ConfigureAwait(false);
            if (problem is not null)
            {
                return record with { Reason = endpoint.Kept is null ? $"the data was not kept: {problem}" : $"it reads something else: {problem}" };
            }

            _active.Add(new Active(method, running, load, method.TurnIn(scratch)));
            _turns.Add(method.TurnIn(scratch), running);
            running = null;
            return record with { Ran = true, Verified = true, VerifiedBy = HowVerified(endpoint, verified) };
        }
        catch (Exception e) when (e is MethodException or IOException)
        {
            return record with { Reason = e.Message };
        }
        finally
        {
            if (running is not null)
            {
                await running.DisposeAsync().ConfigureAwait(false);
            }
        }
    }

    private static string HowVerified(LoadEndpoint endpoint, LoadEndpoint verified) => endpoint.Kept?.Description
        ?? $"{(verified.SizeBytes == endpoint.SizeBytes ? "the whole span" : $"the first {verified.SizeBytes >> 20} MiB")} written with a pattern that names each word's place, flushed, read back and compared";

    /// <summary>
    /// Takes everything down, the last first. What cannot be taken down is said, and does not keep the others up.
    /// </summary>
    private async Task EndAllAsync()
    {
        await _ahead.ConfigureAwait(false);
        foreach (IDeliveryMethod method in plan.Methods)
        {
            await EndAsync(method, () => new ValueTask(method.AbandonAsync(scratch))).ConfigureAwait(false);
        }

        foreach (Active active in Enumerable.Reverse(_active))
        {
            await EndAsync(active.Method, active.Running.DisposeAsync).ConfigureAwait(false);
        }
    }

    private async Task EndAsync(IDeliveryMethod method, Func<ValueTask> end)
    {
        try
        {
            // Whatever a device of the kernel waits for: the results are written.
            await Task.Run(async () => await end().ConfigureAwait(false)).WaitAsync(s_endLimit).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            _notes.Add($"{method.Name} could not be taken down in {s_endLimit.TotalMinutes} minutes. The next comparison tries again.");
        }
        catch (Exception e) when (e is MethodException or IOException)
        {
            _notes.Add($"{method.Name} could not be taken down completely: {e.Message}");
        }
    }

    private Workload[] Measured => [.. plan.Workloads.Where(w => w.LeftOut is null)];

    private int TotalRuns => plan.Rounds * Measured.Length * plan.Methods.Count;

    private async Task MeasureAsync(CancellationToken cancellation)
    {
        int done = 0;
        int total = plan.Rounds * Measured.Length * _active.Count;
        Active[][] turns = [.. _active.GroupBy(a => a.Turn).Select(g => g.ToArray())];
        for (int round = 0; round < plan.Rounds; round++)
        {
            // Each begins with another turn, and with the one that has the drives already: its server, or its virtual machine,
            // need not start again.
            foreach (Active[] turn in Rotated(turns, (turns.Length - 1) * (round + 1)))
            {
                foreach (Workload workload in Measured)
                {
                    foreach (Active active in Rotated(turn, round).Where(a => !_serveNoMore.Contains(a)))
                    {
                        onProgress(new ComparisonProgress(done++, total, $"round {round + 1}: {workload.Title} on {active.Method.Name}"));
                        cancellation.ThrowIfCancellationRequested();
                        await MeasureOneAsync(active, workload, round, cancellation).ConfigureAwait(false);
                    }
                }
            }
        }

        foreach (Active active in _active.Where(a => !_serveNoMore.Contains(a)))
        {
            if (active.Running.WhyEnded is string ended)
            {
                ServesNoMore(active, $"after the last round {ended}");
            }
        }

        onProgress(new ComparisonProgress(total, total, "done"));
    }

    private static IEnumerable<T> Rotated<T>(T[] all, int by) => Enumerable.Range(0, all.Length).Select(i => all[(i + by) % all.Length]);

    private async Task MeasureOneAsync(Active active, Workload workload, int round, CancellationToken cancellation)
    {
        try
        {
            await _turns.TakeAsync(active.Turn, cancellation).ConfigureAwait(false);
            LoadEndpoint endpoint = active.Running.Endpoint;
            if ((ILoadGenerator.WhyProtected(endpoint, workload) ?? active.Load.WhyNot(endpoint, workload)) is string reason)
            {
                if (!_missing.Any(m => m.Method == active.Method.Name && m.Workload == workload.Title))
                {
                    _missing.Add(new MissingRun(active.Method.Name, workload.Title, reason));
                    NoteUndriven(active, workload, reason);
                }

                return;
            }

            if (active.Running.WhyEnded is string ended)
            {
                throw new MethodException(ended) { IsFinal = true };
            }

            await RunAsync(active, endpoint, workload, round, cancellation).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or TimeoutException or MethodException)
        {
            // Ctrl-C reaches the load's programs too: that they end then is no failure.
            cancellation.ThrowIfCancellationRequested();
            string why = e is not MethodException { IsFinal: true } && active.Running.WhyEnded is string ended ? $"{e.Message}; {ended}" : e.Message;
            string what = $"{workload.Title}, round {round + 1} failed: {why}";
            _notes.Add($"{active.Method.Name}, {what}");
            if (e is not MethodException { IsOfTheLoad: true })
            {
                _failedRuns.Add(new FailedRun { Method = active.Method.Name, Workload = workload.Name, Round = round, Reason = why });
            }

            if (e is MethodException { IsFinal: true } || active.Running.WhyEnded is not null)
            {
                ServesNoMore(active, what);
            }
        }
    }

    /// <summary>A job file is run by fio alone: what the installed fio has no engine for works, but was not driven.</summary>
    private void NoteUndriven(Active active, Workload workload, string reason)
    {
        if (workload.FioJobText is not null)
        {
            Change(active, m => m with { Undriven = $"{workload.Title}: {reason}" });
        }
    }

    private void ServesNoMore(Active active, string why)
    {
        _serveNoMore.Add(active);
        Change(active, m => m with { Reason = why });
    }

    private void Change(Active active, Func<MethodRecord, MethodRecord> change)
    {
        int index = _methods.FindIndex(m => m.Name == active.Method.Name);
        _methods[index] = change(_methods[index]);
    }

    private async Task RunAsync(Active active, LoadEndpoint endpoint, Workload workload, int round, CancellationToken cancellation)
    {
        (IDeliveryMethod method, IRunningMethod running, ILoadGenerator load, _) = active;
        TargetReading? before = null;
        TargetReading? after = null;
        void OnMeasuring(bool begins)
        {
            if (begins)
            {
                before = TargetReading.AtBegin(running, asks: !load.CountsNotifications);
            }
            else
            {
                after = TargetReading.AtEnd(running, asks: !load.CountsNotifications);
            }
        }

        var noise = new NoiseMeter([.. running.ProcessIds, .. running.LoadProcessIds]);
        var settings = new LoadSettings(plan.WarmUp, plan.Duration, scratch.LoadCpus, plan.Seed + (ulong)round);
        if (_noted.Add((method.Name, workload.Name)))
        {
            NoteCommands(method.Name, load.Commands(endpoint, workload, settings));
        }

        LoadResult result = await load.RunAsync(endpoint, workload, settings, OnMeasuring, cancellation).ConfigureAwait(false);
        (double foreign, double steal) = noise.Shares();
        TargetUse? target = before is { } begin && after is { } end ? end.Since(begin, result.Seconds) : null;
        _runs.Add(new RunRecord(method.Name, workload.Name, round, result, target?.CpuNs, target?.ContextSwitches)
        {
            ForeignCpuShare = foreign,
            StealShare = steal,
            Notifications = result.Notifications ?? target?.Notifications,
        });
    }

    /// <summary>
    /// The array runs on the host, so the drive that it is held against is that of the host, driven by the same load; whatever
    /// ratios refer to.
    /// </summary>
    private void AddEfficiencyOf(IDeliveryMethod array, string level)
    {
        if (_active.Find(a => a.Method is BareFile { IsByFio: false } or VolumeMember { IsByFio: false }) is Active bare)
        {
            _efficiency.AddRange(EfficiencyMeter.FromRuns(_runs, plan.Workloads, bare.Method.Name, array.Name, level, scratch.Members));
        }
        else if (_runs.Any(r => r.Method == array.Name))
        {
            _notes.Add("RAID efficiency has no rows from the runs: the bare drive was not measured on the host beside the array. --methods bare-drive,array,... measures both.");
        }
    }

    private async Task MeasureEfficiencyAsync(CancellationToken cancellation)
    {
        if (plan.Efficiency is not EfficiencyPlan efficiency)
        {
            return;
        }

        // The simulated drives share nothing with the volume; its servers rest meanwhile.
        await _turns.EndAsync().ConfigureAwait(false);
        onProgress(new ComparisonProgress(1, 1, "RAID efficiency"));
        if (_active.Find(a => a.Method is ArrayInProcess) is Active array)
        {
            AddEfficiencyOf(array.Method, efficiency.Level);
        }

        try
        {
            if (efficiency.Drives > 0)
            {
                _efficiency.AddRange(await EfficiencyMeter.SimulateAsync(efficiency, scratch, plan.Duration > s_simulatedRun ? plan.Duration : s_simulatedRun, cancellation).ConfigureAwait(false));
            }
        }
        catch (Exception e) when (e is IOException or MethodException)
        {
            _notes.Add($"RAID efficiency with simulated drives could not be measured: {e.Message}");
        }
    }

    /// <summary>Last of all: a target that does not come back has its figures already.</summary>
    private async Task RestartAllAsync(CancellationToken cancellation)
    {
        foreach ((IDeliveryMethod method, IRunningMethod running, _, object? turn) in plan.Restarts ? _active.Except(_serveNoMore) : [])
        {
            cancellation.ThrowIfCancellationRequested();
            onProgress(new ComparisonProgress(1, 1, $"killing {method.Name} under load"));
            try
            {
                await _turns.TakeAsync(turn, cancellation).ConfigureAwait(false);
                if (await new RestartTester().RunAsync(method, running, cancellation).ConfigureAwait(false) is RestartTest test)
                {
                    _restarts.Add(test);
                }
            }
            catch (Exception e) when (e is IOException or MethodException)
            {
                _restarts.Add(new RestartTest { Method = method.Name, IoErrors = 0, Detail = $"it could not be tested: {e.Message}" });
            }
        }
    }

    /// <summary>
    /// The load's commands join those of the method; they differ between rounds in the seed alone, so those of the first are
    /// kept.
    /// </summary>
    private void NoteCommands(string method, string commands)
    {
        int index = _methods.FindIndex(m => m.Name == method);
        _methods[index] = _methods[index] with { Commands = [.. _methods[index].Commands, commands] };
    }

    /// <summary>Every method has a record, also those that a comparison that was broken off did not come to.</summary>
    private void AddUnreached() => _methods.AddRange(plan.Methods.Skip(_methods.Count).Select(m => new MethodRecord
    {
        Name = m.Name, Description = m.Description, Ran = false, Reason = "the comparison was broken off before it was started",
    }));

    /// <summary>A method that serves, or has its turn again.</summary>
    private sealed record Active(IDeliveryMethod Method, IRunningMethod Running, ILoadGenerator Load, object? Turn);
}
