// A workload as fio's command line. On the host and in a virtual machine the same arguments are used; only the target differs.
//
// A user's job file is taken as it is, after a [global] section that names the target, the times and the form of the output. What
// it says itself about these (filename and the like) is left out: where the load goes is the comparison's to say.

using System.Globalization;
using Polyblk.Compare.Workloads;

namespace Polyblk.Compare.Load.Fio;

/// <summary>What fio is pointed at.</summary>
/// <param name="Options">Engine and place, as options: <c>--filename=/dev/ublkb0</c>, or engine and URI.</param>
/// <param name="SizeBytes">How much of it is used.</param>
/// <param name="CanPoll">Whether the device has poll queues, so that completions can be polled for.</param>
/// <param name="IsBlockDevice">Whether the engine is the workload's to choose; otherwise the options say it.</param>
/// <param name="IsReadOnly">Whether fio shall refuse to write.</param>
public sealed record FioTarget(IReadOnlyList<string> Options, long SizeBytes, bool IsBlockDevice, bool CanPoll = false, bool IsReadOnly = false)
{
    /// <summary>A block device, or a file that stands for one. fio takes a colon for the end of a name.</summary>
    public static FioTarget Device(string path, long sizeBytes, bool canPoll = false) => new([$"--filename={path.Replace(":", "\\:", StringComparison.Ordinal)}"], sizeBytes, true, canPoll);

    /// <summary>A directory of a mounted file system, in which fio makes a file for each job.</summary>
    public static FioTarget Folder(string path, long fileBytes) => new([$"--directory={path}"], fileBytes, true);

    /// <summary>An NBD export, through fio's nbd engine.</summary>
    public static FioTarget Nbd(string uri, long sizeBytes) => new(["--ioengine=nbd", $"--uri={uri}"], sizeBytes, false);
}

/// <summary>Makes fio's arguments.</summary>
public static class FioJob
{
    /// <summary>The percentiles that are asked for.</summary>
    public const string Percentiles = "50:90:99:99.9:99.99";

    private const string EndOfFile = "END-OF-JOB-FILE";

    private static readonly string[] s_placeOptions =
        ["filename", "directory", "size", "output", "output-format", "uri", "runtime", "time_based", "ramp_time", "group_reporting", "percentile_list", "unified_rw_reporting"];

    /// <summary>The arguments of a run, after the name of the program.</summary>
    public static IReadOnlyList<string> Arguments(Workload workload, FioTarget target, LoadSettings settings)
    {
        ArgumentNullException.ThrowIfNull(workload);
        ArgumentNullException.ThrowIfNull(target);
        string pattern = (workload.IsRandom ? "rand" : string.Empty) + (workload.IsWrite ? "write" : "read");
        return
        [
            "--output-format=json", .. target.IsReadOnly ? new[] { "--readonly" } : [], "--name=compare", .. target.Options, .. Engine(workload, target), .. Common(settings),
            $"--rw={pattern}", $"--bs={workload.BlockBytes}", $"--iodepth={workload.Depth}", $"--numjobs={workload.Jobs}",
            $"--size={target.SizeBytes / workload.BlockBytes * workload.BlockBytes}",
            .. workload is { OffsetIncrementPercent: > 0, Jobs: > 1 } ? new[] { $"--offset_increment={workload.OffsetIncrementPercent}%" } : [],
        ];
    }

    /// <summary>
    /// The arguments of a run that makes the files and no more. fio would make them before its warm-up, in a time that nobody
    /// outside of it knows, and the target's processor time would be read too early.
    /// </summary>
    public static IReadOnlyList<string> LayoutArguments(Workload workload, FioTarget folder, LoadSettings settings) => [.. Arguments(workload, folder, settings), "--create_only=1"];

    /// <summary>
    /// The arguments of a verification: everything is written with checksums that name its place, flushed, read back and
    /// compared.
    /// </summary>
    public static IReadOnlyList<string> VerifyArguments(FioTarget target, ulong seed)
    {
        ArgumentNullException.ThrowIfNull(target);
        const int BlockBytes = 128 << 10;
        return
        [
            "--output-format=json", "--name=verify", .. target.Options, .. target.IsBlockDevice ? new[] { "--ioengine=io_uring", "--direct=1" } : [],
            "--thread=1", "--rw=write", $"--bs={BlockBytes}", "--iodepth=8", $"--size={target.SizeBytes / BlockBytes * BlockBytes}", "--end_fsync=1",
            "--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--verify_state_save=0", string.Create(CultureInfo.InvariantCulture, $"--randseed={seed}"),
        ];
    }

    /// <summary>The user's job file, pointed at the target.</summary>
    public static string JobFile(string text, FioTarget target, LoadSettings settings)
    {
        ArgumentNullException.ThrowIfNull(text);
        ArgumentNullException.ThrowIfNull(target);
        string[] options = [.. target.Options, .. Common(settings), $"--size={target.SizeBytes}", "--unified_rw_reporting=1"];
        IEnumerable<string> own = options.Select(o => o[2..]);
        IEnumerable<string> users = text.Split('\n').Where(line => !IsOurs(line, target));
        return string.Join('\n', ["[global]", .. target.IsBlockDevice ? new[] { "ioengine=io_uring", "direct=1" } : [], .. own, .. users]) + "\n";
    }

    /// <summary>Lines of a shell that write a job file.</summary>
    public static string HereDocument(string path, string text) => $"cat >{path} <<'{EndOfFile}'\n{text}{EndOfFile}\n";

    private static bool IsOurs(string line, FioTarget target)
    {
        string name = line.Split('=')[0].Trim();
        return s_placeOptions.Contains(name) || (!target.IsBlockDevice && name is "ioengine" or "direct");
    }

    private static string[] Engine(Workload workload, FioTarget target) => !target.IsBlockDevice ? [] : workload.Engine switch
    {
        BlockEngine.Libaio => ["--ioengine=libaio", "--direct=1"],
        BlockEngine.IoUringFixed => ["--ioengine=io_uring", "--direct=1", "--fixedbufs=1", "--registerfiles=1", .. target.CanPoll ? new[] { "--hipri=1" } : []],
        _ => ["--ioengine=io_uring", "--direct=1"],
    };

    private static string[] Common(LoadSettings settings) =>
    [
        "--thread=1", "--group_reporting=1", "--time_based=1",
        string.Create(CultureInfo.InvariantCulture, $"--runtime={settings.Duration.TotalMilliseconds:0}ms"),
        string.Create(CultureInfo.InvariantCulture, $"--ramp_time={settings.WarmUp.TotalMilliseconds:0}ms"),
        string.Create(CultureInfo.InvariantCulture, $"--randseed={settings.Seed}"),
        "--norandommap=1", "--disable_slat=1", $"--percentile_list={Percentiles}",
    ];
}
