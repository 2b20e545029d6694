// Is there a device of this export already, and what is to be done with it?

using System.Diagnostics;
using Polyblk.Core.Block;
using Polyblk.Core.Frontend;
using static Polyblk.Frontends.Ublk.UblkAbi;

namespace Polyblk.Frontends.Ublk;

/// <summary>Finds what an earlier process left behind of the same export of the same volume.</summary>
internal sealed class UblkDeviceFinder(IUblkControl control, UblkHost host, UblkStateStore store)
{
    /// <summary>How long the driver may take to clean up after a dead server.</summary>
    private static readonly TimeSpan CleanupTimeout = TimeSpan.FromSeconds(20);

    /// <summary>
    /// The device that carries the mark of the export and its volume, looked for at its recorded number first and then everywhere, or null.
    /// </summary>
    public async Task<ublksrv_ctrl_dev_info?> FindAsync(string exportId, Guid volumeUuid)
    {
        ulong mark = UblkStateStore.MarkOf(exportId, volumeUuid);

        // Volumes of one name that have no UUID carry the same mark: then the device is the one that this state directory knows, or none.
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
    /// The device to which an export's link has led until now, where that is an orphan: of another volume of that name, since an orphan of
    /// the export's own would have been taken over. Null when there is none.
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
    /// Makes sure that nobody serves the device and the driver is ready for a successor: waits for its clean-up after a dead server.
    /// Returns false when the device is no longer there to be recovered (it is dead: never started, or stopped).
    /// </summary>
    /// <exception cref="FrontendException">Another process serves it, or the driver does not let go of it.</exception>
    public async Task<bool> PrepareRecoveryAsync(uint device)
    {
        long start = Stopwatch.GetTimestamp();
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

            // -EBUSY: the dead process's last references are being dropped, or its requests are being collected.
            result = await control.StartRecoveryAsync(device).ConfigureAwait(false);
            if (result >= 0)
            {
                return true;
            }

            if (result != -Errno.EBUSY || Stopwatch.GetElapsedTime(start) > CleanupTimeout)
            {
                throw new FrontendException($"{UblkHost.BlockPath(device)} was left behind and cannot be taken over (errno {-result}, state "
                    + $"{UblkReaper.NameOf(info.state)}): delete it with polyblk ublk delete {device} --force; its users then see I/O errors.");
            }

            await Task.Delay(20).ConfigureAwait(false);
        }
    }
}
