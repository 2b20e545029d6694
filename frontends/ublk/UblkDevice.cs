// A kernel device with its queues running: made new, or taken over from a dead process. What the export adds is the user's view.
//
// Order of creation: ADD_DEV, SET_PARAMS, open and map /dev/ublkcN, record the number, fetch every tag, START_DEV. START_DEV
// waits for all tags and reads the partition table, so the queues serve requests before it returns. Recovery replaces the first
// two steps by START_USER_RECOVERY and the last by END_USER_RECOVERY. Order of the end: STOP_DEV (the driver finishes what is in
// flight and takes all tags back), free the queues, unmap and close /dev/ublkcN, DEL_DEV, which waits for ever for a character
// device that is still mapped.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using static Polyblk.Frontends.Ublk.UblkAbi;

namespace Polyblk.Frontends.Ublk;

/// <summary>A started device.</summary>
internal sealed class UblkDevice
{
    private static readonly TimeSpan TagsTimeout = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan s_quiesceInterval = TimeSpan.FromMilliseconds(20);

    private readonly IUblkControl _control;

    private UblkDevice(IUblkControl control, ublksrv_ctrl_dev_info info, UblkPlan plan, UblkQueueSet queues)
    {
        _control = control;
        Info = info;
        Plan = plan;
        Queues = queues;
    }

    /// <summary>What the driver granted.</summary>
    public ublksrv_ctrl_dev_info Info { get; }

    /// <summary>N of /dev/ublkbN.</summary>
    public uint Number => Info.dev_id;

    /// <summary>The device's flags.</summary>
    public UblkFeatures Flags => (UblkFeatures)Info.flags;

    /// <summary>How data is moved.</summary>
    public UblkPlan Plan { get; }

    /// <summary>The queues.</summary>
    public UblkQueueSet Queues { get; }

    /// <summary>Whether it was taken over.</summary>
    public bool WasRecovered { get; private init; }

    private UblkCharDevice? CharDevice { get; set; }

    /// <summary>Makes a new device and starts it.</summary>
    /// <exception cref="FrontendException">It cannot be made; nothing is left behind.</exception>
    public static async Task<UblkDevice> CreateAsync(
        IUblkControl control, ublksrv_ctrl_dev_info wanted, ublk_params parameters, UblkPlan plan, UblkVolume volume, ReactorGroup reactors, CancellationToken cancellation)
    {
        (int result, ublksrv_ctrl_dev_info info) = await control.AddDeviceAsync(wanted).ConfigureAwait(false);
        if (result < 0)
        {
            throw new FrontendException(ExplainAddFailure(-result, wanted.dev_id)) { Data = { ["errno"] = -result } };
        }

        var device = new UblkDevice(control, info, plan, new UblkQueueSet(reactors));
        try
        {
            if (((UblkFeatures)info.flags & plan.Flags) != plan.Flags)
            {
                throw new FrontendException($"The driver did not grant {plan.Flags & ~(UblkFeatures)info.flags}: use --copy-mode copy.");
            }

            await device.SetParametersAsync(parameters, cancellation).ConfigureAwait(false);
            await device.RunQueuesAsync(volume, cancellation).ConfigureAwait(false);
            await device.WaitForStartAsync(control.StartAsync(info.dev_id, Environment.ProcessId)).ConfigureAwait(false);
            return device;
        }
        catch
        {
            await device.UndoAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Takes over a device for which START_USER_RECOVERY succeeded.</summary>
    /// <param name="onFetched">Called when the driver has the tags of every queue.</param>
    /// <exception cref="FrontendException">It cannot be taken over; it is left to the next successor.</exception>
    public static async Task<UblkDevice> RecoverAsync(
        IUblkControl control, ublksrv_ctrl_dev_info info, UblkPlan plan, UblkVolume volume, ReactorGroup reactors, Action onFetched, CancellationToken cancellation)
    {
        var device = new UblkDevice(control, info, plan, new UblkQueueSet(reactors)) { WasRecovered = true };
        try
        {
            await device.RunQueuesAsync(volume, cancellation).ConfigureAwait(false);
            onFetched();
            await device.WaitForStartAsync(control.EndRecoveryAsync(info.dev_id, Environment.ProcessId)).ConfigureAwait(false);
            return device;
        }
        catch
        {
            // Stopping it would fail the requests that wait. Without this process's descriptors it waits for the next successor.
            await device.Queues.AbandonAsync().ConfigureAwait(false);
            device.CharDevice?.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Takes back a start of which nobody was told: a new device is removed, whoever looks at it (udev does, for a moment); one
    /// that was taken over waits for the next successor.
    /// </summary>
    public async Task UndoAsync()
    {
        if (WasRecovered)
        {
            await HandOverAsync().ConfigureAwait(false);
            return;
        }

        await StopAsync(safely: false).ConfigureAwait(false);
        await CloseAsync().ConfigureAwait(false);
        await _control.DeleteAsync(Number).ConfigureAwait(false);
    }

    /// <summary>Takes /dev/ublkbN away; the queues serve what is in flight meanwhile.</summary>
    /// <param name="safely">Only when nobody has it open, where the driver can tell.</param>
    /// <returns>0 or a negative errno: -EBUSY when it is open.</returns>
    public async Task<int> StopAsync(bool safely)
    {
        int result = safely && (Flags & UblkFeatures.SafeStopDev) != 0
            ? await _control.TryStopAsync(Number).ConfigureAwait(false)
            : await _control.StopAsync(Number).ConfigureAwait(false);

        // -ENODEV: it is gone already (deleted by somebody else, or stopped before).
        return result == -Errno.ENODEV ? 0 : result;
    }

    /// <summary>Frees the queues, once the driver has taken their tags back, and closes the character device.</summary>
    public async Task CloseAsync()
    {
        try
        {
            await Queues.WhenEndedAsync().WaitAsync(TagsTimeout, _control.Clock).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            throw new FrontendException($"The driver does not give back the requests of {UblkHost.BlockPath(Number)}; they are held until this process ends.");
        }

        await Queues.CloseAsync().ConfigureAwait(false);
        CharDevice?.Dispose();
    }

    /// <summary>
    /// Leaves the device behind for a successor: requests wait in the kernel. Returns whether that is so at once; otherwise
    /// (before Linux 6.16) it is when this process's rings are closed, at its end.
    /// </summary>
    public async Task<bool> HandOverAsync()
    {
        if ((Flags & UblkFeatures.Quiesce) != 0 && await QuiesceAsync().ConfigureAwait(false))
        {
            await CloseAsync().ConfigureAwait(false);
            return true;
        }

        await Queues.DrainAsync().ConfigureAwait(false);
        await Queues.AbandonAsync().ConfigureAwait(false);
        CharDevice?.Dispose();
        return false;
    }

    /// <summary>
    /// QUIESCE_DEV takes back only the tags that are idle; a tag whose request is committed later is fetched again by that very
    /// command. New requests wait in the kernel from the first call on, so a few rounds take all.
    /// </summary>
    private async Task<bool> QuiesceAsync()
    {
        const int rounds = 100;
        Task ended = Queues.WhenEndedAsync();
        for (int i = 0; i < rounds && !ended.IsCompleted; i++)
        {
            int result = await _control.QuiesceAsync(Number, TimeSpan.FromSeconds(5)).ConfigureAwait(false);
            if (result < 0 && result != -Errno.EBUSY)
            {
                return false;
            }

            await Task.WhenAny(ended, Task.Delay(s_quiesceInterval, _control.Clock)).ConfigureAwait(false);
        }

        return ended.IsCompleted;
    }

    /// <summary>
    /// The first command that the driver allows by the permissions of an ordinary user's node: udev gives it to him a moment
    /// after it is made.
    /// </summary>
    private async Task SetParametersAsync(ublk_params parameters, CancellationToken cancellation)
    {
        bool isByNode = (Flags & UblkFeatures.UnprivilegedDev) != 0;
        long start = _control.Clock.GetTimestamp();
        int result;
        while ((result = await _control.SetParametersAsync(Number, parameters).ConfigureAwait(false)) is -Errno.EACCES or -Errno.ENOENT && isByNode)
        {
            if (_control.Clock.GetElapsedTime(start) > UblkCharDevice.NodeTimeout)
            {
                throw new FrontendException(UblkCharDevice.ExplainOpenFailure(UblkCharDevice.PathOf(Number), -result));
            }

            await Task.Delay(UblkCharDevice.NodeInterval, _control.Clock, cancellation).ConfigureAwait(false);
        }

        Check(result, "takes the parameters of the volume");
    }

    private async Task RunQueuesAsync(UblkVolume volume, CancellationToken cancellation)
    {
        CharDevice = await UblkCharDevice.OpenAsync(Number, Info.nr_hw_queues, Info.queue_depth, _control.Clock, cancellation).ConfigureAwait(false);
        await Queues.OpenAsync(volume, CharDevice, Info, Plan).ConfigureAwait(false);
        await Queues.FetchAsync().ConfigureAwait(false);
    }

    private async Task WaitForStartAsync(Task<int> start)
    {
        // A refused FETCH would leave START_DEV waiting for ever.
        Task failed = Queues.WhenFailedAsync();
        if (await Task.WhenAny(start, failed).ConfigureAwait(false) == failed)
        {
            throw new FrontendException($"The driver refuses to hand over requests (errno {-Queues.Failure}).");
        }

        int result = await start.ConfigureAwait(false);
        if (result == -Errno.EINVAL)
        {
            throw new FrontendException("The driver does not start the device. In a container with a process namespace of its own Linux 6.17 "
                + "and earlier do that: run it with --pid=host.");
        }

        Check(result, "starts the device");
    }

    private static void Check(int result, string what)
    {
        if (result < 0)
        {
            throw new FrontendException($"The ublk driver no longer {what}: errno {-result}.");
        }
    }

    private static string ExplainAddFailure(int errno, uint number) => errno switch
    {
        Errno.EEXIST => $"There is a ublk device {number} already: choose another --number, or see polyblk ublk list.",
        Errno.EPERM => "Making a ublk device needs CAP_SYS_ADMIN: run as root, or use --unprivileged.",
        Errno.EACCES => "The driver's limit for devices is reached: raise /sys/module/ublk_drv/parameters/ublks_max (before Linux 6.15 it counts all devices).",
        Errno.EINVAL => "The driver takes no device of this kind (queues, depth, copy mode): use --copy-mode copy and fewer queues.",
        Errno.ENOMEM => "No memory in the kernel for the device's queues: use a smaller --queue-size.",
        _ => $"The driver does not make the device (errno {errno}).",
    };
}
