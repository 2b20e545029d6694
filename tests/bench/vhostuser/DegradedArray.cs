// A RAID 5 array of RAM drives that has lost its first member, served over vhost-user: what the command line cannot make, because
// its volatile arrays are new and whole at every start. This program starts itself as this target:
//
//     bench-vhost-user serve-degraded SOCKET CPU MEMBERS MEMBER-BYTES

using System.Globalization;
using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives.Ram;
using Polyblk.Frontends;
using Polyblk.Frontends.VhostUser;
using Polyblk.Raid;
using Polyblk.Raid.Layout;

namespace Polyblk.Bench;

/// <summary>The target program.</summary>
internal static class DegradedArray
{
    /// <summary>Serves until it is killed.</summary>
    public static async Task ServeAsync(string socket, string cpu, string members, string memberBytes)
    {
        using var reactors = new ReactorGroup([int.Parse(cpu, CultureInfo.InvariantCulture)], IdlePolicy.Latency);
        Reactor home = reactors.Reactors[0];
        RamDrive[] drives =
        [
            .. Enumerable.Range(0, int.Parse(members, CultureInfo.InvariantCulture))
                .Select(_ => new RamDrive(long.Parse(memberBytes, CultureInfo.InvariantCulture))),
        ];
        RaidArray whole = await ArrayBuilder.CreateAsync(
            new ArrayCreateOptions { Name = "bench", Level = RaidLevel.Raid5, ChunkBytes = 64 << 10, AssumeZeroed = true }, drives, home);
        await whole.DisposeAsync();
        await using RaidArray array = await ArrayBuilder.AssembleAsync(
            new ArrayAssembleOptions { Name = "bench", AllowDegraded = true }, drives[1..], home);
        string directory = Path.GetDirectoryName(socket)!;
        var spec = new ExportSpec { Id = "bench", VolumeName = "bench", Device = array, SocketPath = socket, Serial = "bench", Queues = 2, QueueSize = 256 };
        var context = new ExportContext(reactors, directory, directory, NullLoggerFactory.Instance);
        await using IExport export = await new VhostUserFrontend().CreateAsync(spec, context, CancellationToken.None);
        await Task.Delay(Timeout.InfiniteTimeSpan);
    }
}

/// <summary>See the top of the file.</summary>
internal sealed class DegradedTarget(string device, int members, long memberBytes) : Target("polyblk", device)
{
    /// <inheritdoc/>
    protected override IReadOnlyList<string> BuildCommand(BenchPaths paths, string cpus) =>
        [paths.Self, "serve-degraded", Socket, cpus, members.ToString(CultureInfo.InvariantCulture), memberBytes.ToString(CultureInfo.InvariantCulture)];
}
