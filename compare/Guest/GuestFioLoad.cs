// fio in a virtual machine: the same jobs as on the host, on the disk that the machine sees.
//
// The machine tells of fio's first request; the counted time begins when the warm-up after it is over. Processor times of target
// and machine are read within the counted time and scaled to it. The whole machine is the load's side: in it run fio, the driver
// and, for QEMU's own block layer, the iothreads.
//
// Each script has a limit (FioLimit).

using System.Diagnostics;
using System.Globalization;
using Polyblk.Compare.Load;
using Polyblk.Compare.Load.Fio;
using Polyblk.Compare.Measurement;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Workloads;

namespace Polyblk.Compare.Guest;

/// <summary>Drives disks inside machines.</summary>
/// <param name="margin">What a script may take beyond its own work; null for one that suits emulation.</param>
public sealed class GuestFioLoad(TimeSpan? margin = null) : ILoadGenerator
{
    private const int PollUs = 10_000;
    private const string MountPoint = "/mnt";
    private const string JobFile = "/tmp/custom.fio";

    /// <inheritdoc/>
    public string Name => "fio in the VM";

    /// <inheritdoc/>
    public string NameFor(LoadEndpoint endpoint) => $"{((GuestEndpoint)endpoint).Machine.FioVersion} in the VM";

    /// <inheritdoc/>
    public bool CanDrive(LoadEndpoint endpoint) => endpoint is GuestEndpoint;

    /// <inheritdoc/>
    public string? WhyNot(LoadEndpoint endpoint, Workload workload) => null;

    /// <inheritdoc/>
    public async Task<string?> VerifyAsync(LoadEndpoint endpoint, ulong seed, CancellationToken cancellation)
    {
        var disk = (GuestEndpoint)endpoint;
        string commands = VerifyCommands(endpoint, seed);
        if (disk.Kept is KeptContent kept)
        {
            return await kept.CompareSumsAsync(regions => SumsAsync(disk, commands, FioLimit.Of(regions.Sum(r => (long)r.Length), margin), cancellation)).ConfigureAwait(false);
        }

        GuestCommandResult result = await disk.Machine.RunAsync(commands, FioLimit.Of(2 * disk.SizeBytes, margin), () => { }, cancellation).ConfigureAwait(false);
        return result.ExitCode == 0 && FioOutput.Errors(result.Output) == 0 ? null : $"fio --verify=crc32c ended with {result.ExitCode}: {result.Errors}";
    }

    /// <inheritdoc/>
    public string VerifyCommands(LoadEndpoint endpoint, ulong seed)
    {
        ArgumentNullException.ThrowIfNull(endpoint);
        var disk = (GuestEndpoint)endpoint;
        return disk.Kept is KeptContent kept ? SumsScript(disk, kept.Regions) : ShellLine.Of(["fio", .. FioJob.VerifyArguments(FioTarget.Device(disk.Path, disk.SizeBytes), seed)]);
    }

    /// <inheritdoc/>
    public string Commands(LoadEndpoint endpoint, Workload workload, LoadSettings settings)
    {
        ArgumentNullException.ThrowIfNull(workload);
        (string before, string fio, string after) = Parts((GuestEndpoint)endpoint, workload, settings);
        return string.Join('\n', new[] { before, fio, after }.Where(p => p.Length > 0));
    }

    /// <summary>Sums of ranges of a disk, past the machine's page cache.</summary>
    private static string SumsScript(GuestEndpoint disk, IEnumerable<(long Offset, int Length)> ranges)
    {
        const int BlockBytes = 4096;
        IEnumerable<string> lines = ranges.Select(r => string.Create(CultureInfo.InvariantCulture, $"sum {r.Offset / BlockBytes} {r.Length / BlockBytes}"));
        return $"sum() {{ dd if={disk.Path} bs={BlockBytes} skip=$1 count=$2 iflag=direct | sha256sum | cut -d' ' -f1; }}\n{string.Join('\n', lines)}";
    }

    private static async Task<IReadOnlyList<string>> SumsAsync(GuestEndpoint disk, string script, TimeSpan limit, CancellationToken cancellation)
    {
        GuestCommandResult result = await disk.Machine.RunAsync(script, limit, () => { }, cancellation).ConfigureAwait(false);
        return result.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
    }

    /// <inheritdoc/>
    public async Task<LoadResult> RunAsync(
        LoadEndpoint endpoint, Workload workload, LoadSettings settings, Action<bool> onMeasuring, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(workload);
        ArgumentNullException.ThrowIfNull(settings);
        ArgumentNullException.ThrowIfNull(onMeasuring);
        var disk = (GuestEndpoint)endpoint;
        var window = new Window(disk.Machine.ProcessIds, onMeasuring);
        var started = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Task<GuestCommandResult> run = disk.Machine.RunAsync(
            Script(disk, workload, settings), FioLimit.Of(disk, workload, settings, margin), () => started.TrySetResult(), cancellation);
        await Task.WhenAny(started.Task, run).ConfigureAwait(false);
        await WaitAsync(run, settings.WarmUp + (settings.Duration * CountedWindow.Start), cancellation).ConfigureAwait(false);
        window.Begin();
        await WaitAsync(run, settings.Duration * (CountedWindow.End - CountedWindow.Start), cancellation).ConfigureAwait(false);
        window.End();
        GuestCommandResult result = await run.ConfigureAwait(false);
        if (result.ExitCode != 0)
        {
            throw new MethodException($"fio in the machine ended with {result.ExitCode}: {result.Errors}");
        }

        LoadResult load = FioOutput.Parse(result.Output, workload);
        return window.HasMachine ? load with { LoadCpuNs = window.MachineCpuNs(load.Seconds) } : load;
    }

    /// <summary>The commands of a run: what prepares it, fio, what cleans up.</summary>
    private static (string Before, string Fio, string After) Parts(GuestEndpoint disk, Workload workload, LoadSettings settings)
    {
        FioTarget target = workload.FileSystem is null
            ? FioTarget.Device(disk.Path, disk.SizeBytes) with { IsReadOnly = disk.Kept is not null }
            : FioTarget.Folder(MountPoint, workload.FileBytesOn(disk.SizeBytes));
        string fio = workload.FioJobText is not null
            ? FioJob.HereDocument(JobFile, FioJob.JobFile(workload.FioJobText, target, settings)) + ShellLine.Of("fio", "--output-format=json", JobFile)
            : ShellLine.Of(["fio", .. FioJob.Arguments(workload, target, settings)]);
        (string before, string after) = workload.FileSystem is not string type ? ("", "")
            : ($$"""
                mkfs.{{type}} -q {{disk.Path}} >&2 && mount -t {{type}} {{disk.Path}} {{MountPoint}} || exit 1
                {{ShellLine.Of(["fio", .. FioJob.LayoutArguments(workload, target, settings)])}} >&2 || { umount {{MountPoint}}; exit 1; }
                """, $"umount {MountPoint}");
        return (before, fio, after);
    }

    /// <summary>What is run in the machine.</summary>
    private static string Script(GuestEndpoint disk, Workload workload, LoadSettings settings)
    {
        (string before, string fio, string after) = Parts(disk, workload, settings);
        return $$"""
            {{before}}
            statistics=/sys/class/block/$(basename "$(readlink -f {{disk.Path}})")/stat
            idle=$(cat $statistics)
            (while [ "$(cat $statistics)" = "$idle" ]; do usleep {{PollUs}} 2>/dev/null || sleep 0.01; done; mark) >/dev/null 2>&1 &
            watch=$!
            {{fio}}
            status=$?
            kill $watch 2>/dev/null
            {{after}}
            exit $status
            """;
    }

    private static async Task WaitAsync(Task run, TimeSpan time, CancellationToken cancellation)
    {
        await Task.WhenAny(run, Task.Delay(time, cancellation)).ConfigureAwait(false);
        cancellation.ThrowIfCancellationRequested();
    }

    /// <summary>Reads the machine's processor time with the target's.</summary>
    private sealed class Window(IReadOnlyList<int> machine, Action<bool> onMeasuring)
    {
        private ThreadReading _threads = ThreadReading.Empty;
        private long _cpuNs;
        private long _timestamp;
        private TimeSpan _part;

        /// <summary>Whether the machine is one of this host.</summary>
        public bool HasMachine => machine.Count > 0;

        public void Begin()
        {
            onMeasuring(true);
            (_threads, _timestamp) = (ProcessCpu.Read(machine), Stopwatch.GetTimestamp());
        }

        public void End()
        {
            _cpuNs = ProcessCpu.Read(machine).Since(_threads).CpuNs;
            _part = Stopwatch.GetElapsedTime(_timestamp);
            onMeasuring(false);
        }

        /// <summary>Brought to the counted time; null where too little of it was read.</summary>
        public long? MachineCpuNs(double countedSeconds) => (long?)(_cpuNs * PartOfTime.Scale(_part, countedSeconds));
    }
}
