// Is there a device of this export already, and what is to be done with it?

using Polyblk.Core.Block;
using static Polyblk.Frontends.Ublk.UblkAbi;

namespace Polyblk.Frontends.Ublk;

/// <summary>Finds what an earlier process left behind of the same export of the same volume.</summary>
internal sealed class UblkDeviceFinder(IUblkControl control, UblkHost host, UblkStateStore store)
{
    /// <summary>How long the driver may take to clean up after a dead server.</summary>
    private static readonly TimeSpan CleanupTimeout = TimeSpan.FromSeconds(20);
    private static readonly TimeSpan s_cleanupInterval = TimeSpan.FromMilliseconds(20);

    /// <summary>
    /// The device that carries the mark of the export and its volume, looked for at its recorded number first and then
    /// everywhere, or null.
    /// </summary>
    public async Task<ublksrv_ctrl_dev_info?> FindAsync(string exportId, Guid volumeUuid)
    {
        ulong mark = UblkStateStore.MarkOf(exportId, volumeUuid);

        // Volumes of one name that have no UUID carry the same mark: then the device is the one that this state directory knows,
        // or none.
        IEnumerable<uint> numbers = volumeUuid == Guid.Empty ? [] : host.Devices();
        if (store.Load(exportId) is UblkState state && state.Mark == mark)
        {
            numbers = numbers.Prepend(state.Device).Distinct();
        }

        foreach (uint number in numbers)
        {
            (int result, ublksrv_ctrl_dev_info info) = await control.GetInfoAsync(number).ConfigureAwait(false);
            if (result >= 0 && info.ublksrv_flags == mark)
            {
                return info;
            }
        }

        return null;
    }

    /// <summary>
    /// The device to which an export's link has led until now, where that is an orphan: of another volume of that name, since an
    /// orphan of the export's own would have been taken over. Null when there is none.
    /// </summary>
    /// <param name="linkTarget">What the link says, or null when there is none.</param>
    /// <param name="own">The export's device.</param>
    public async Task<uint?> FindOrphanBehindAsync(string? linkTarget, ublksrv_ctrl_dev_info own)
    {
        if (UblkHost.NumberOfPath(linkTarget) is not uint number)
        {
            return null;
        }

        (int result, ublksrv_ctrl_dev_info info) = await control.GetInfoAsync(number).ConfigureAwait(false);
        bool isStranger = result >= 0 && UblkStateStore.IsMark(info.ublksrv_flags) && info.ublksrv_flags != own.ublksrv_flags;
        return isStranger && info.state != UBLK_S_DEV_DEAD && !host.IsServing(info.ublksrv_pid, number) ? number : null;
    }

    /// <summary>Whether a living process serves a device.</summary>
    public bool IsServed(ublksrv_ctrl_dev_info info) => info.state == UBLK_S_DEV_LIVE && host.IsServing(info.ublksrv_pid, info.dev_id);

    /// <summary>
    /// Whether a process died in the midst of taking the device over, where the driver may not be asked to begin anew: before
    /// Linux 6.16 START_USER_RECOVERY expects every queue to have had a server, and on a queue that nobody came to serve it
    /// follows a null pointer (ublk_queue_reinit). A device of one queue is safe: the driver looks whether any has had one.
    /// </summary>
    public bool WasLeftHalfTakenOver(UblkState record, ublksrv_ctrl_dev_info info) =>
        IsTakenOverOnce(info) && info.nr_hw_queues > 1
            && store.Load(record.ExportId) is { TakeOverBegun: true } left && left.Device == info.dev_id && left.Mark == record.Mark;

    /// <summary>
    /// Makes sure that nobody serves the device and the driver is ready for a successor: waits for its clean-up after a dead
    /// server. What follows is recorded as a take-over that has begun, until <see cref="EndTakeOver"/>.
    /// </summary>
    /// <param name="record">The export's record, which names the device.</param>
    /// <returns>False when the device is no longer there to be recovered (it is dead: never started, or stopped).</returns>
    /// <exception cref="FrontendException">Another process serves it, the driver does not let go of it, or the record cannot be
    /// written.</exception>
    public async Task<bool> PrepareRecoveryAsync(UblkState record)
    {
        uint device = record.Device;
        long start = control.Clock.GetTimestamp();
        while (true)
        {
            (int result, ublksrv_ctrl_dev_info info) = await control.GetInfoAsync(device).ConfigureAwait(false);
            if (result < 0 || info.state == UBLK_S_DEV_DEAD)
            {
                return false;
            }

            if (IsServed(info))
            {
                throw new FrontendException($"{UblkHost.BlockPath(device)} is served by process {info.ublksrv_pid}: stop that one first.");
            }

            if (WasLeftHalfTakenOver(record, info))
            {
                // Its predecessor's START_USER_RECOVERY holds. What it did after that decides whether the driver takes this
                // process's queues.
                return true;
            }

            // -EBUSY: the dead process's last references are being dropped, or its requests are being collected. -EINVAL, before
            // Linux 6.16: no queue is served since the last START_USER_RECOVERY, whose sender died before the record of it was
            // written.
            result = await control.StartRecoveryAsync(device).ConfigureAwait(false);
            if (result >= 0 || (result == -Errno.EINVAL && IsTakenOverOnce(info)))
            {
                if (IsTakenOverOnce(info))
                {
                    store.Save(record with { TakeOverBegun = true });
                }

                return true;
            }

            if (result != -Errno.EBUSY || control.Clock.GetElapsedTime(start) > CleanupTimeout)
            {
                throw new FrontendException($"{UblkHost.BlockPath(device)} was left behind and cannot be taken over (errno {-result}, state "
                    + $"{UblkReaper.NameOf(info.state)}): delete it with polyblk ublk delete {device} --force; its users then see I/O errors.");
            }

            await Task.Delay(s_cleanupInterval, control.Clock).ConfigureAwait(false);
        }
    }

    /// <summary>
    /// Records that the driver has every queue of this process: from now on it may be asked for the next take-over.
    /// </summary>
    /// <exception cref="FrontendException">The record cannot be written.</exception>
    public void EndTakeOver(UblkState record, ublksrv_ctrl_dev_info info)
    {
        if (IsTakenOverOnce(info))
        {
            store.Save(record);
        }
    }

    /// <summary>
    /// Whether the driver cannot repeat a take-over that was begun. Linux 6.16, where devices can be quiesced (a feature that is
    /// always asked for), forgets a server when it closes the device, however far that one came.
    /// </summary>
    private static bool IsTakenOverOnce(ublksrv_ctrl_dev_info info) =>
        ((UblkFeatures)info.flags & (UblkFeatures.UserRecovery | UblkFeatures.Quiesce)) == UblkFeatures.UserRecovery;
}
