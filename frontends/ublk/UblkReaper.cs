// Devices whose server died: found, and deleted or taken over. Never an orphan that nobody can name.

using Polyblk.Core.Block;
using static Polyblk.Frontends.Ublk.UblkAbi;

namespace Polyblk.Frontends.Ublk;

/// <summary>A ublk device of this host.</summary>
/// <param name="Number">N of /dev/ublkbN.</param>
/// <param name="State"><c>live</c>, <c>quiesced</c> (requests wait for a server), <c>fail-io</c> or <c>dead</c> (not started, or
/// stopped).</param>
/// <param name="ServerPid">The process that serves it or did last; 0 or less when there is none.</param>
/// <param name="ServerAlive">Whether that process lives.</param>
/// <param name="IsOurs">Whether polyblk made it.</param>
/// <param name="ExportId">The export that it belongs to, where its record is in the state directory.</param>
/// <param name="VolumeName">That export's volume.</param>
/// <param name="SizeBytes">Its size in bytes.</param>
/// <param name="Queues">Its queues.</param>
/// <param name="Depth">Entries of each.</param>
/// <param name="CopyMode">How its data is moved.</param>
/// <param name="Users">Sentences that say what uses it.</param>
public sealed record UblkDeviceInfo(
    uint Number,
    string State,
    int ServerPid,
    bool ServerAlive,
    bool IsOurs,
    string? ExportId,
    string? VolumeName,
    long SizeBytes,
    int Queues,
    int Depth,
    UblkCopyMode CopyMode,
    IReadOnlyList<string> Users)
{
    /// <summary>Path of its block device.</summary>
    public string Path => UblkHost.BlockPath(Number);

    /// <summary>Whether it was left behind: its server is dead and nobody takes its requests.</summary>
    public bool IsOrphan => !ServerAlive;
}

/// <summary>Lists ublk devices, and deletes or recovers those that were left behind.</summary>
public sealed class UblkReaper
{
    private readonly Func<Task<IUblkControl>> _open;
    private readonly UblkHost _host;
    private readonly IReadOnlyList<UblkStateStore> _stores;

    /// <summary>
    /// Makes one that knows the exports recorded in these state directories (<see cref="ExportContext.StateDirectory"/>).
    /// </summary>
    public UblkReaper(params IEnumerable<string> stateDirectories)
        : this(
            async () => await UblkControl.OpenAsync(unprivileged: false).ConfigureAwait(false),
            UblkHost.Local,
            [.. stateDirectories.Select(d => new UblkStateStore(d))])
    {
    }

    internal UblkReaper(Func<Task<IUblkControl>> open, UblkHost host, IReadOnlyList<UblkStateStore> stores)
    {
        _open = open;
        _host = host;
        _stores = stores;
    }

    /// <summary>All ublk devices of the host, by number.</summary>
    /// <exception cref="FrontendException">The driver is not there or may not be used.</exception>
    public async Task<IReadOnlyList<UblkDeviceInfo>> ListAsync()
    {
        IUblkControl control = await _open().ConfigureAwait(false);
        await using (control.ConfigureAwait(false))
        {
            Dictionary<ulong, UblkState> byMark = [];
            foreach (UblkState state in _stores.SelectMany(s => s.LoadAll()))
            {
                byMark[state.Mark] = state;
            }

            var found = new List<UblkDeviceInfo>();
            foreach (uint number in _host.Devices())
            {
                (int result, ublksrv_ctrl_dev_info info) = await control.GetInfoAsync(number).ConfigureAwait(false);
                if (result >= 0)
                {
                    (_, ublk_params parameters) = await control.GetParametersAsync(number).ConfigureAwait(false);
                    found.Add(Describe(info, parameters, byMark.GetValueOrDefault(info.ublksrv_flags)));
                }
            }

            return found;
        }
    }

    /// <summary>Deletes a device. Requests that wait for its dead server fail.</summary>
    /// <param name="number">N of /dev/ublkbN.</param>
    /// <param name="force">Also when its server lives, it is used, or polyblk did not make it.</param>
    /// <exception cref="FrontendException">It does not exist, or one of these holds and <paramref name="force"/> is not
    /// given.</exception>
    public async Task DeleteAsync(uint number, bool force)
    {
        UblkDeviceInfo device = (await ListAsync().ConfigureAwait(false)).FirstOrDefault(d => d.Number == number)
            ?? throw new FrontendException($"There is no ublk device {number}.");
        if (!force)
        {
            Refuse(device);
        }

        IUblkControl control = await _open().ConfigureAwait(false);
        await using (control.ConfigureAwait(false))
        {
            int stopped = await control.StopAsync(number).ConfigureAwait(false);
            if (stopped == -Errno.ETIMEDOUT)
            {
                throw new FrontendException($"{device.Path} does not stop: its server (process {device.ServerPid}) holds requests. End that process first.");
            }

            int result = await control.DeleteAsync(number).ConfigureAwait(false);
            if (result == -Errno.ETIMEDOUT)
            {
                throw new FrontendException($"{device.Path} is stopped; its number becomes free when the last user has let go: {string.Join("; ", device.Users)}.");
            }

            if (result < 0)
            {
                throw new FrontendException($"{device.Path} cannot be deleted (errno {-result}).");
            }
        }
    }

    /// <summary>Orphans of polyblk that can be taken over by serving the same export again: requests wait in them.</summary>
    public async Task<IReadOnlyList<UblkDeviceInfo>> RecoverableAsync() =>
        [.. (await ListAsync().ConfigureAwait(false)).Where(d => d is { IsOurs: true, IsOrphan: true, State: not "dead" })];

    /// <summary>Name of a UBLK_S_DEV_* state.</summary>
    internal static string NameOf(ushort state) => state switch
    {
        UBLK_S_DEV_LIVE => "live",
        UBLK_S_DEV_QUIESCED => "quiesced",
        UBLK_S_DEV_FAIL_IO => "fail-io",
        _ => "dead",
    };

    private static void Refuse(UblkDeviceInfo device)
    {
        if (!device.IsOurs)
        {
            throw new FrontendException($"{device.Path} was not made by polyblk. Use --force to delete it all the same.");
        }

        if (device.ServerAlive)
        {
            throw new FrontendException($"{device.Path} is served by process {device.ServerPid}: stop that one, or use --force.");
        }

        if (device.Users.Count != 0)
        {
            throw new FrontendException($"{device.Path} is in use: {string.Join("; ", device.Users)}. Serve its volume again to recover it, or use --force: its users then see I/O errors.");
        }
    }

    private UblkDeviceInfo Describe(ublksrv_ctrl_dev_info info, ublk_params parameters, UblkState? state)
    {
        var flags = (UblkFeatures)info.flags;
        UblkCopyMode mode = (flags & UblkFeatures.AutoBufReg) != 0 ? UblkCopyMode.ZeroCopy
            : (flags & UblkFeatures.UserCopy) != 0 ? UblkCopyMode.UserCopy : UblkCopyMode.Copy;
        return new UblkDeviceInfo(
            info.dev_id,
            NameOf(info.state),
            info.ublksrv_pid,
            info.state == UBLK_S_DEV_LIVE && _host.IsServing(info.ublksrv_pid, info.dev_id),
            UblkStateStore.IsMark(info.ublksrv_flags),
            state?.ExportId,
            state?.VolumeName,
            (long)parameters.basic.dev_sectors * 512,
            info.nr_hw_queues,
            info.queue_depth,
            mode,
            _host.UsersOf(info.dev_id));
    }
}
