using System.Diagnostics;
using Polyblk.Core.Reactors;
using Polyblk.Frontends;
using Polyblk.Frontends.Ublk;

namespace Polyblk.GuestPrograms.Ublk;

/// <summary>Successors that do not come to the end of it.</summary>
internal static class TakeOver
{
    /// <summary>
    /// Begins to take over the device that was left behind of an export, and kills this process: with <c>begun</c> as soon as the
    /// driver waits for its queues, with <c>fetched</c> when the driver has all of these, but was not told that this is the end.
    /// </summary>
    public static async Task BreakOffAsync(string step, ExportSpec spec, ReactorGroup reactors, string stateDirectory)
    {
        UblkControl control = await UblkControl.OpenAsync(unprivileged: false);
        var finder = new UblkDeviceFinder(control, UblkHost.Local, new UblkStateStore(stateDirectory));
        ublksrv_ctrl_dev_info info = await finder.FindAsync(spec.Id, spec.VolumeUuid) ?? throw new FrontendException("There is no such device.");
        var record = new UblkState(spec.Id, spec.VolumeName, spec.VolumeUuid, info.dev_id);
        if (!await finder.PrepareRecoveryAsync(record))
        {
            throw new FrontendException("The device is dead.");
        }

        if (step == "fetched")
        {
            UblkPlan plan = UblkPlan.ForRecovered((UblkFeatures)info.flags, spec.Device.Limits);
            await UblkDevice.RecoverAsync(control, info, plan, new UblkVolume(spec), reactors, Die, CancellationToken.None);
        }

        Die();
    }

    private static void Die() => Process.GetCurrentProcess().Kill();
}
