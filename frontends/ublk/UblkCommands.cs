using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using static Polyblk.Frontends.Ublk.UblkAbi;

namespace Polyblk.Frontends.Ublk;

/// <summary>The control commands, typed. All return the driver's result or a negative errno.</summary>
internal static class UblkCommands
{
    /// <summary>For commands that answer from the driver's own memory.</summary>
    public static readonly TimeSpan QuickTimeout = TimeSpan.FromSeconds(30);

    /// <summary>For START_DEV and END_USER_RECOVERY, which wait until every tag is fetched, and for the partition scan.</summary>
    public static readonly TimeSpan StartTimeout = TimeSpan.FromSeconds(60);

    /// <summary>For STOP_DEV, which waits for the requests in flight.</summary>
    public static readonly TimeSpan StopTimeout = TimeSpan.FromSeconds(120);

    /// <summary>For DEL_DEV, which waits until the last user has closed the device.</summary>
    public static readonly TimeSpan DeleteTimeout = TimeSpan.FromSeconds(10);

    /// <summary>For a deletion that need not be waited for.</summary>
    public static readonly TimeSpan HeldTimeout = TimeSpan.FromSeconds(1);

    /// <summary>What the driver can do (Linux 6.5).</summary>
    public static async Task<(int Result, UblkFeatures Features)> GetFeaturesAsync(this IUblkControl control)
    {
        byte[] payload = new byte[UBLK_FEATURES_LEN];
        int result = await control.SendAsync(UBLK_U_CMD_GET_FEATURES, AnyDevice, 0, payload, QuickTimeout).ConfigureAwait(false);
        return (result, (UblkFeatures)MemoryMarshal.Read<ulong>(payload));
    }

    /// <summary>Makes a device; the answer holds its number and what it was granted.</summary>
    public static async Task<(int Result, ublksrv_ctrl_dev_info Info)> AddDeviceAsync(this IUblkControl control, ublksrv_ctrl_dev_info info)
    {
        byte[] payload = ToBytes(info);
        int result = await control.SendAsync(UBLK_U_CMD_ADD_DEV, info.dev_id, 0, payload, QuickTimeout).ConfigureAwait(false);
        return (result, MemoryMarshal.Read<ublksrv_ctrl_dev_info>(payload));
    }

    /// <summary>Reads a device's description; -ENODEV when there is none.</summary>
    public static async Task<(int Result, ublksrv_ctrl_dev_info Info)> GetInfoAsync(this IUblkControl control, uint device)
    {
        byte[] payload = new byte[Unsafe.SizeOf<ublksrv_ctrl_dev_info>()];
        int result = await control.SendAsync(UBLK_U_CMD_GET_DEV_INFO, device, 0, payload, QuickTimeout).ConfigureAwait(false);
        return (result, MemoryMarshal.Read<ublksrv_ctrl_dev_info>(payload));
    }

    /// <summary>Sets the parameters of a device that is not started yet.</summary>
    public static Task<int> SetParametersAsync(this IUblkControl control, uint device, ublk_params parameters) =>
        control.SendAsync(UBLK_U_CMD_SET_PARAMS, device, 0, ToBytes(parameters), QuickTimeout);

    /// <summary>Reads the parameters of a device.</summary>
    public static async Task<(int Result, ublk_params Parameters)> GetParametersAsync(this IUblkControl control, uint device)
    {
        byte[] payload = ToBytes(new ublk_params { len = (uint)Unsafe.SizeOf<ublk_params>() });
        int result = await control.SendAsync(UBLK_U_CMD_GET_PARAMS, device, 0, payload, QuickTimeout).ConfigureAwait(false);
        return (result, MemoryMarshal.Read<ublk_params>(payload));
    }

    /// <summary>Shows /dev/ublkbN. Every tag must be being fetched.</summary>
    public static Task<int> StartAsync(this IUblkControl control, uint device, int pid) =>
        control.SendAsync(UBLK_U_CMD_START_DEV, device, (ulong)pid, [], StartTimeout);

    /// <summary>Takes /dev/ublkbN away after the requests in flight; later ones fail.</summary>
    public static Task<int> StopAsync(this IUblkControl control, uint device) =>
        control.SendAsync(UBLK_U_CMD_STOP_DEV, device, 0, [], StopTimeout);

    /// <summary>As <see cref="StopAsync"/>, but -EBUSY while somebody has the device open (Linux 7.0).</summary>
    public static Task<int> TryStopAsync(this IUblkControl control, uint device) =>
        control.SendAsync(UBLK_U_CMD_TRY_STOP_DEV, device, 0, [], StopTimeout);

    /// <summary>
    /// Deletes a device and waits until its number is free. Where somebody still holds it, the deletion goes on when he lets go.
    /// /dev/ublkcN must be unmapped and closed.
    /// </summary>
    public static async Task<int> DeleteAsync(this IUblkControl control, uint device)
    {
        int result = await control.SendAsync(UBLK_U_CMD_DEL_DEV, device, 0, [], DeleteTimeout).ConfigureAwait(false);

        // Gone is gone: somebody else may have been quicker.
        return result == -Errno.ENODEV ? 0 : result;
    }

    /// <summary>
    /// Deletes a device without waiting for those who hold it; -ETIMEDOUT when they keep its number. The driver does not know the
    /// command for that where the device is an unprivileged one: there the ordinary command is given up after a moment, and the
    /// deletion goes on when they let go.
    /// </summary>
    public static async Task<int> DeleteInBackgroundAsync(this IUblkControl control, uint device)
    {
        int result = await control.SendAsync(UBLK_U_CMD_DEL_DEV_ASYNC, device, 0, [], QuickTimeout).ConfigureAwait(false);
        return result == -Errno.EINVAL ? await control.SendAsync(UBLK_U_CMD_DEL_DEV, device, 0, [], HeldTimeout).ConfigureAwait(false) : result;
    }

    /// <summary>Begins to take over a device whose server is gone; -EBUSY while the driver still cleans up after it.</summary>
    public static Task<int> StartRecoveryAsync(this IUblkControl control, uint device) =>
        control.SendAsync(UBLK_U_CMD_START_USER_RECOVERY, device, 0, [], QuickTimeout);

    /// <summary>Requests flow again. Every tag must be being fetched.</summary>
    public static Task<int> EndRecoveryAsync(this IUblkControl control, uint device, int pid) =>
        control.SendAsync(UBLK_U_CMD_END_USER_RECOVERY, device, (ulong)pid, [], StartTimeout);

    /// <summary>Changes the size of a running device (Linux 6.16).</summary>
    public static Task<int> UpdateSizeAsync(this IUblkControl control, uint device, ulong sectors) =>
        control.SendAsync(UBLK_U_CMD_UPDATE_SIZE, device, sectors, [], QuickTimeout);

    /// <summary>Makes requests wait for a successor and takes back every fetched tag (Linux 6.16).</summary>
    public static Task<int> QuiesceAsync(this IUblkControl control, uint device, TimeSpan timeout) =>
        control.SendAsync(UBLK_U_CMD_QUIESCE_DEV, device, (ulong)timeout.TotalMilliseconds, [], timeout + QuickTimeout);

    private static byte[] ToBytes<T>(T value)
        where T : unmanaged
    {
        byte[] bytes = new byte[Unsafe.SizeOf<T>()];
        MemoryMarshal.Write(bytes, value);
        return bytes;
    }
}
