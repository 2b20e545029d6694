// fio: a load that is not this program's, for block devices, NBD exports and, where it was built with libblkio, vhost-user
// sockets.

using System.Globalization;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Running;
using Polyblk.Compare.Workloads;
using Polyblk.Core.Interop;

namespace Polyblk.Compare.Load.Fio;

/// <summary>Drives endpoints of this host with fio.</summary>
/// <param name="fio">The program.</param>
/// <param name="scratch">For job files and mount points.</param>
/// <param name="margin">What fio may take beyond its own work; null for one that suits an emulated machine.</param>
public sealed class FioLoad(FioProgram fio, ScratchSpace scratch, TimeSpan? margin = null) : ILoadGenerator
{
    private const string Blkio = "libblkio";
    private const string Nbd = "nbd";
    private const string MountFolder = "mnt";
    private const string JobFile = "custom.fio";

    /// <inheritdoc/>
    public string Name => fio.Version;

    /// <inheritdoc/>
    public bool CanDrive(LoadEndpoint endpoint) => endpoint switch
    {
        BlockEndpoint => fio.Engines.Contains("io_uring") && fio.Engines.Contains("libaio"),
        NbdEndpoint => fio.Engines.Contains(Nbd),
        VhostUserEndpoint => fio.Engines.Contains(Blkio),
        _ => false,
    };

    /// <inheritdoc/>
    public string? WhyNot(LoadEndpoint endpoint, Workload workload)
    {
        ArgumentNullException.ThrowIfNull(workload);
        return workload.FileSystem is null ? null
            : endpoint is not BlockEndpoint ? "a file system needs a block device"
            : !Environment.IsPrivilegedProcess ? "mounting a file system needs root"
            : ProgramPath.TryFind($"mkfs.{workload.FileSystem}") is null ? $"mkfs.{workload.FileSystem} is not installed"
            : null;
    }

    /// <inheritdoc/>
    public async Task<string?> VerifyAsync(LoadEndpoint endpoint, ulong seed, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(endpoint);
        if (endpoint is not NbdEndpoint || endpoint.Kept is not null)
        {
            return await DataVerifier.VerifyAsync(endpoint, seed, cancellation).ConfigureAwait(false);
        }

        await using ChildProcess child = ChildProcess.Start(VerifyCommand(endpoint, seed), []);
        try
        {
            (int exitCode, string output) = await child.FinishAsync(FioLimit.Of(2 * endpoint.SizeBytes, margin), cancellation).ConfigureAwait(false);
            return exitCode == 0 && FioOutput.Errors(output) == 0 ? null : $"fio --verify=crc32c ended with {exitCode}: {child.LastErrors}";
        }
        catch (TimeoutException e)
        {
            _ = await child.TryKillAsync().ConfigureAwait(false);
            return e.Message;
        }
    }

    /// <inheritdoc/>
    public async Task<LoadResult> RunAsync(
        LoadEndpoint endpoint, Workload workload, LoadSettings settings, Action<bool> onMeasuring, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(endpoint);
        ArgumentNullException.ThrowIfNull(workload);
        TimeSpan limit = FioLimit.Of(endpoint, workload, settings, margin);
        if (workload.FileSystem is not null)
        {
            await using MountedFileSystem mounted = await MountedFileSystem.MakeAsync(
                ((BlockEndpoint)endpoint).Path, workload.FileSystem, scratch.PathOf(MountFolder), cancellation).ConfigureAwait(false);
            FioTarget folder = FioTarget.Folder(mounted.Folder, workload.FileBytesOn(endpoint.SizeBytes));
            _ = await fio.RunAsync(FioJob.LayoutArguments(workload, folder, settings), settings, limit, _ => { }, cancellation).ConfigureAwait(false);
            return await RunAsync(folder, workload, settings, limit, onMeasuring, cancellation).ConfigureAwait(false);
        }

        return await RunAsync(TargetOf(endpoint), ForQueues(endpoint, workload), settings, limit, onMeasuring, cancellation).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public string VerifyCommands(LoadEndpoint endpoint, ulong seed) => endpoint is NbdEndpoint { Kept: null }
        ? ShellLine.Of(VerifyCommand(endpoint, seed))
        : ILoadGenerator.OwnVerification(endpoint, seed);

    /// <inheritdoc/>
    public string Commands(LoadEndpoint endpoint, Workload workload, LoadSettings settings)
    {
        ArgumentNullException.ThrowIfNull(endpoint);
        ArgumentNullException.ThrowIfNull(workload);
        ArgumentNullException.ThrowIfNull(settings);
        string[] pinned = settings.Cpus.Count > 0 ? ["taskset", "-c", string.Join(',', settings.Cpus)] : [];
        if (workload.FileSystem is string type)
        {
            string folder = scratch.PathOf(MountFolder);
            string device = ((BlockEndpoint)endpoint).Path;
            FioTarget files = FioTarget.Folder(folder, workload.FileBytesOn(endpoint.SizeBytes));
            return string.Join('\n',
            [
                .. MountedFileSystem.Commands(device, type, folder).Select(c => ShellLine.Of(c)),
                ShellLine.Of([.. pinned, "fio", .. FioJob.LayoutArguments(workload, files, settings)]),
                ShellLine.Of([.. pinned, "fio", .. FioJob.Arguments(workload, files, settings)]),
                ShellLine.Of(MountedFileSystem.EndCommand(folder)),
            ]);
        }

        FioTarget target = TargetOf(endpoint);
        return workload.FioJobText is not null
            ? FioJob.HereDocument(scratch.PathOf(JobFile), FioJob.JobFile(workload.FioJobText, target, settings)) + ShellLine.Of([.. pinned, "fio", .. JobFileArguments(target)])
            : ShellLine.Of([.. pinned, "fio", .. FioJob.Arguments(ForQueues(endpoint, workload), target, settings)]);
    }

    private static IReadOnlyList<string> VerifyCommand(LoadEndpoint endpoint, ulong seed) => ["fio", .. FioJob.VerifyArguments(TargetOf(endpoint), seed)];

    private string[] JobFileArguments(FioTarget target) => ["--output-format=json", .. target.IsReadOnly ? new[] { "--readonly" } : [], scratch.PathOf(JobFile)];

    /// <summary>
    /// With libblkio a job drives one queue. Sequential jobs begin apart: each would read the same blocks otherwise.
    /// </summary>
    internal static Workload ForQueues(LoadEndpoint endpoint, Workload workload)
    {
        int queues = endpoint is VhostUserEndpoint socket ? Math.Min(socket.Queues, workload.TotalDepth) : 0;
        return queues == 0 ? workload : workload with
        {
            Jobs = queues,
            Depth = (workload.TotalDepth + queues - 1) / queues,
            OffsetIncrementPercent = workload.IsRandom || workload.OffsetIncrementPercent > 0 ? workload.OffsetIncrementPercent : 100 / queues,
        };
    }

    private async Task<LoadResult> RunAsync(
        FioTarget target, Workload workload, LoadSettings settings, TimeSpan limit, Action<bool> onMeasuring, CancellationToken cancellation)
    {
        IReadOnlyList<string> arguments = FioJob.Arguments(workload, target, settings);
        if (workload.FioJobText is not null)
        {
            await File.WriteAllTextAsync(scratch.PathOf(JobFile), FioJob.JobFile(workload.FioJobText, target, settings), cancellation).ConfigureAwait(false);
            arguments = JobFileArguments(target);
        }

        string output = await fio.RunAsync(arguments, settings, limit, onMeasuring, cancellation).ConfigureAwait(false);
        return FioOutput.Parse(output, workload);
    }

    private static FioTarget TargetOf(LoadEndpoint endpoint) => Place(endpoint) with { IsReadOnly = endpoint.Kept is not null };

    private static FioTarget Place(LoadEndpoint endpoint) => endpoint switch
    {
        BlockEndpoint device => FioTarget.Device(device.Path, device.SizeBytes, HasPollQueues(device.Path)),
        NbdEndpoint export => FioTarget.Nbd(export.Uri, export.SizeBytes),
        VhostUserEndpoint socket => new FioTarget(
            [$"--ioengine={Blkio}", "--libblkio_driver=virtio-blk-vhost-user", $"--libblkio_path={socket.SocketPath}", "--hipri=1"], socket.SizeBytes, false),
        _ => throw new ArgumentException($"fio cannot drive a {endpoint.GetType().Name}.", nameof(endpoint)),
    };

    /// <summary>Whether the block layer says that completions can be polled for (queue/io_poll).</summary>
    private static bool HasPollQueues(string path)
    {
        string device = new FileInfo(path).ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? path;
        string file = $"/sys/class/block/{Path.GetFileName(device)}/queue/io_poll";
        return File.Exists(file) && int.Parse(File.ReadAllText(file), CultureInfo.InvariantCulture) == 1;
    }
}
