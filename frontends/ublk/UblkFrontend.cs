// The frontend: makes exports, new or recovered.

using Microsoft.Extensions.Logging;
using Polyblk.Core.Block;
using static Polyblk.Frontends.Ublk.UblkAbi;

namespace Polyblk.Frontends.Ublk;

/// <summary>Serves volumes as /dev/ublkbN to the host and its containers.</summary>
public sealed class UblkFrontend : IFrontend
{
    /// <summary>The name on the command line.</summary>
    public const string FrontendName = "ublk";

    private readonly UblkHost _host = UblkHost.Local;

    /// <inheritdoc/>
    public string Name => FrontendName;

    /// <inheritdoc/>
    public string Description => "A block device /dev/ublkbN on this host, for its file systems, containers and QEMU (Linux 6.5, module ublk_drv).";

    /// <inheritdoc/>
    public IReadOnlyList<FrontendOption> Options => UblkSpec.Options;

    /// <inheritdoc/>
    public bool IsDevice => true;

    /// <inheritdoc/>
    public FrontendProbe Probe() => UblkProbe.Run(_host);

    /// <inheritdoc/>
    public async Task<IExport> CreateAsync(ExportSpec spec, ExportContext context, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(spec);
        ArgumentNullException.ThrowIfNull(context);
        UblkSpec options = UblkSpec.Read(spec, context.Reactors.Reactors.Count);
        IUblkControl control = await UblkControl.OpenAsync(options.Unprivileged, context.Clock).ConfigureAwait(false);
        try
        {
            return await CreateAsync(spec, options, context, control, cancellation).ConfigureAwait(false);
        }
        catch
        {
            await control.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    private async Task<IExport> CreateAsync(ExportSpec spec, UblkSpec options, ExportContext context, IUblkControl control, CancellationToken cancellation)
    {
        ILogger log = context.Logging.CreateLogger<UblkFrontend>();
        var store = new UblkStateStore(context.StateDirectory);
        var finder = new UblkDeviceFinder(control, _host, store);
        var notes = new List<string>();
        await RefuseOwnDevicesAsync(spec, control).ConfigureAwait(false);

        UblkDevice? device = options.Unprivileged
            ? null
            : await TryRecoverAsync(spec, options, context, control, finder, notes, cancellation).ConfigureAwait(false);
        device ??= await MakeAsync(spec, options, context, control, store, notes, cancellation).ConfigureAwait(false);
        try
        {
            store.Save(new UblkState(spec.Id, spec.VolumeName, spec.VolumeUuid, device.Number));
            string link = await LinkToAsync(spec, context, finder, device, notes).ConfigureAwait(false);
            AddHostNotes(device, notes);
            log.LogInformation("{Device} serves {Volume}: {Plan}", UblkHost.BlockPath(device.Number), spec.VolumeName, device.Plan.Reason);
            var parts = new UblkExportParts(
                spec, device, control, _host, new ReactorNames(device.Queues.ReactorNames), link, [device.Plan.Reason, .. notes], log);
            return new UblkExport(parts);
        }
        catch
        {
            await device.UndoAsync().ConfigureAwait(false);
            throw;
        }
    }

    private static async Task<string> LinkToAsync(ExportSpec spec, ExportContext context, UblkDeviceFinder finder, UblkDevice device, List<string> notes)
    {
        string link = LinkOf(context.RuntimeDirectory, spec);
        if (await finder.FindOrphanBehindAsync(new FileInfo(link).LinkTarget, device.Info).ConfigureAwait(false) is uint orphan)
        {
            notes.Add($"{UblkHost.BlockPath(orphan)}, where {link} led until now, is of another volume that was named {spec.VolumeName}: its users wait for that one. "
                + $"polyblk ublk delete {orphan} gives it up.");
        }

        return MakeLink(link, device.Number, notes);
    }

    /// <summary>A volume on a device that this very process serves would wait for itself.</summary>
    private async Task RefuseOwnDevicesAsync(ExportSpec spec, IUblkControl control)
    {
        foreach (uint number in _host.DevicesUsedByThisProcess())
        {
            (int result, ublksrv_ctrl_dev_info info) = await control.GetInfoAsync(number).ConfigureAwait(false);
            if (result >= 0 && info.state == UBLK_S_DEV_LIVE && info.ublksrv_pid == Environment.ProcessId)
            {
                throw new FrontendException($"A drive of {spec.VolumeName} (or another open file) lies on {UblkHost.BlockPath(number)}, which this process "
                    + "serves itself: it would wait for itself for ever. Serve the two from different processes.");
            }
        }
    }

    private static async Task<UblkDevice?> TryRecoverAsync(
        ExportSpec spec, UblkSpec options, ExportContext context, IUblkControl control, UblkDeviceFinder finder, List<string> notes, CancellationToken cancellation)
    {
        if (await finder.FindAsync(spec.Id, spec.VolumeUuid).ConfigureAwait(false) is not { } found)
        {
            return null;
        }

        BlockLimits limits = spec.Device.Limits;
        (_, ublk_params parameters) = await control.GetParametersAsync(found.dev_id).ConfigureAwait(false);
        var volume = new UblkVolume(spec);
        if (found.state != UBLK_S_DEV_DEAD && !finder.IsServed(found))
        {
            // Before the take-over begins: where it is refused, older kernels (6.12) would not let it begin a second time.
            CheckSameVolume(found.dev_id, parameters, volume);
        }

        var record = new UblkState(spec.Id, spec.VolumeName, spec.VolumeUuid, found.dev_id);
        bool wasLeftHalf = finder.WasLeftHalfTakenOver(record, found);
        bool mayRecover = found.state != UBLK_S_DEV_DEAD && await finder.PrepareRecoveryAsync(record).ConfigureAwait(false);
        if (!mayRecover)
        {
            await DeleteDeadAsync(control, found.dev_id).ConfigureAwait(false);
            return null;
        }

        UblkPlan plan = UblkPlan.ForRecovered((UblkFeatures)found.flags, limits);
        UblkDevice device;
        try
        {
            device = await UblkDevice.RecoverAsync(
                control, found, plan, volume, context.Reactors, () => finder.EndTakeOver(record, found), cancellation).ConfigureAwait(false);
        }
        catch (FrontendException e) when (wasLeftHalf)
        {
            throw new FrontendException($"{UblkHost.BlockPath(found.dev_id)} was left behind by a process that died while it took the device over, which Linux before "
                + $"6.16 lets nobody do again ({e.Message}) Give it up with polyblk ublk delete {found.dev_id} --force: its users then see I/O errors.", e);
        }

        notes.Add($"{UblkHost.BlockPath(found.dev_id)} was left behind and is taken over; requests that waited go on.");
        if (found.nr_hw_queues != options.Queues || found.queue_depth != UblkDepth.For(options, (UblkFeatures)found.flags).Tags)
        {
            notes.Add($"It keeps its {found.nr_hw_queues} queues of {found.queue_depth} until it is stopped.");
        }

        await GrowAsync(control, device, parameters, spec.Device, notes).ConfigureAwait(false);
        return device;
    }

    private static async Task DeleteDeadAsync(IUblkControl control, uint number)
    {
        int result = await control.DeleteAsync(number).ConfigureAwait(false);
        if (result < 0)
        {
            throw new FrontendException($"{UblkHost.BlockPath(number)} was stopped but is still open somewhere (errno {-result}): close it, then try again.");
        }
    }

    /// <summary>
    /// What the kernel was told of the device when it was made cannot be changed: it has to be right for the volume as it is to
    /// be served now.
    /// </summary>
    /// <exception cref="FrontendException">It is not.</exception>
    internal static void CheckSameVolume(uint number, ublk_params parameters, UblkVolume wanted)
    {
        IBlockDevice volume = wanted.Device;
        long oldBytes = (long)parameters.basic.dev_sectors << 9;
        if (1 << parameters.basic.logical_bs_shift != volume.Limits.LogicalBlockSize || oldBytes > volume.SizeBytes)
        {
            throw new FrontendException($"{UblkHost.BlockPath(number)} was left behind with {oldBytes} bytes in blocks of {1 << parameters.basic.logical_bs_shift}, but the volume "
                + $"now has {volume.SizeBytes} in blocks of {volume.Limits.LogicalBlockSize}: delete the device with polyblk ublk delete {number}.");
        }

        bool wasReadOnly = (parameters.basic.attrs & UBLK_ATTR_READ_ONLY) != 0;
        if (wasReadOnly != wanted.ReadOnly)
        {
            throw new FrontendException($"{UblkHost.BlockPath(number)} was left behind {(wasReadOnly ? "read-only" : "writable")}, and a device stays what it was made: serve the volume "
                + $"{(wasReadOnly ? "with" : "writable, without")} --read-only to take it over, or delete it with polyblk ublk delete {number}.");
        }
    }

    private static async Task GrowAsync(IUblkControl control, UblkDevice device, ublk_params parameters, IBlockDevice volume, List<string> notes)
    {
        ulong sectors = (ulong)volume.SizeBytes >> 9;
        if (sectors == parameters.basic.dev_sectors)
        {
            return;
        }

        if ((device.Flags & UblkFeatures.UpdateSize) == 0 || await control.UpdateSizeAsync(device.Number, sectors).ConfigureAwait(false) < 0)
        {
            notes.Add("The volume has grown; this kernel shows the new size only after the device is stopped and served again (Linux 6.16 can).");
        }
    }

    private async Task<UblkDevice> MakeAsync(
        ExportSpec spec, UblkSpec options, ExportContext context, IUblkControl control, UblkStateStore store, List<string> notes, CancellationToken cancellation)
    {
        UblkFeatures features = await UblkProbe.ReadFeaturesAsync(control).ConfigureAwait(false);
        BlockLimits limits = spec.Device.Limits;
        UblkPlan plan = UblkPlan.Choose(options.CopyMode, features, limits, options.Unprivileged);
        UblkDepth depth = UblkDepth.For(options, features);
        int maxIoBytes = UblkParameters.MaxIoBytes(limits, options.MaxIoBytes);
        ublk_params parameters = UblkParameters.Build(limits, spec.Device.SizeBytes, spec.ReadOnly, maxIoBytes, plan);
        UblkFeatures wantedFlags = WantedFlags(features, plan, options);
        var wanted = new ublksrv_ctrl_dev_info
        {
            nr_hw_queues = (ushort)options.Queues,
            queue_depth = (ushort)depth.Tags,
            max_io_buf_bytes = (uint)maxIoBytes,
            dev_id = options.Number ?? store.Load(spec.Id)?.Device ?? AnyDevice,
            flags = (ulong)wantedFlags,
            ublksrv_flags = UblkStateStore.MarkOf(spec.Id, spec.VolumeUuid),
        };
        UblkDevice device = await MakeWithFreeNumberAsync(wanted, parameters, plan, spec, options, context, control, notes, cancellation).ConfigureAwait(false);
        AddDeviceNotes(device, options, limits, wantedFlags, notes);
        if (depth.KeepsTagIdle && !_host.LimitRequests(device.Number, depth.Requests))
        {
            notes.Add("This kernel loses the device when the process dies while all requests of a queue are in flight, and /sys could not be written to prevent "
                + "that: give the process a writable /sys.");
        }

        return device;
    }

    private static async Task<UblkDevice> MakeWithFreeNumberAsync(
        ublksrv_ctrl_dev_info wanted, ublk_params parameters, UblkPlan plan, ExportSpec spec, UblkSpec options, ExportContext context, IUblkControl control,
        List<string> notes, CancellationToken cancellation)
    {
        try
        {
            return await UblkDevice.CreateAsync(control, wanted, parameters, plan, new UblkVolume(spec), context.Reactors, cancellation).ConfigureAwait(false);
        }
        catch (FrontendException e) when (options.Number is null && wanted.dev_id != AnyDevice && e.Data["errno"] is Errno.EEXIST)
        {
            notes.Add($"{UblkHost.BlockPath(wanted.dev_id)}, its name of the last time, is taken.");
            wanted.dev_id = AnyDevice;
            return await UblkDevice.CreateAsync(control, wanted, parameters, plan, new UblkVolume(spec), context.Reactors, cancellation).ConfigureAwait(false);
        }
    }

    private static UblkFeatures WantedFlags(UblkFeatures features, UblkPlan plan, UblkSpec options)
    {
        UblkFeatures flags = UblkFeatures.CmdIoctlEncode | plan.Flags | (features & UblkFeatures.UpdateSize);
        if (options.Unprivileged)
        {
            return flags | UblkFeatures.UnprivilegedDev;
        }

        if (options.FailsWithoutServer)
        {
            return (features & UblkFeatures.UserRecoveryFailIo) != 0
                ? flags | UblkFeatures.UserRecovery | UblkFeatures.UserRecoveryFailIo | (features & UblkFeatures.Quiesce)
                : throw new FrontendException("This kernel cannot let requests fail while no process serves the device (Linux 6.13 can): use --recovery wait.");
        }

        const UblkFeatures recovery = UblkFeatures.UserRecovery | UblkFeatures.UserRecoveryReissue;
        if ((features & recovery) == recovery)
        {
            flags |= recovery | (features & UblkFeatures.Quiesce);
        }

        return flags;
    }

    private static void AddDeviceNotes(UblkDevice device, UblkSpec options, BlockLimits limits, UblkFeatures wanted, List<string> notes)
    {
        if (device.Info.nr_hw_queues != options.Queues)
        {
            notes.Add($"The kernel made {device.Info.nr_hw_queues} queues of {options.Queues}: one a processor at most.");
        }

        if ((device.Flags & UblkFeatures.UserRecovery) == 0)
        {
            notes.Add("The device does not outlive this process: an unprivileged device cannot be recovered.");
        }

        if ((device.Flags & UblkFeatures.UserRecoveryFailIo) != 0)
        {
            notes.Add("When this process ends while the device is used, requests fail until the volume is served again.");
        }

        if ((wanted & UblkFeatures.UpdateSize) == 0)
        {
            notes.Add("This kernel cannot resize the device while it is used (Linux 6.16 can).");
        }

        if (!UblkParameters.CanExpressOptimalIo(limits))
        {
            notes.Add($"The stripe of {limits.OptimalIoSize} bytes is no power of two and cannot be told to the kernel: use the mkfs options below.");
        }
    }

    private void AddHostNotes(UblkDevice device, List<string> notes)
    {
        if (!device.Queues.ThreadsAreIoFlushers)
        {
            notes.Add("The reactors could not be marked as I/O threads (CAP_SYS_RESOURCE): under memory pressure a write to the device may wait for itself.");
        }

        if (_host.IsSwap(device.Number))
        {
            notes.Add($"{UblkHost.BlockPath(device.Number)} is swap space: this process must then not be swapped out itself. Lock its memory, or swap elsewhere.");
        }

        if (_host.IsMountedHere(device.Number))
        {
            notes.Add($"{UblkHost.BlockPath(device.Number)} is mounted in this process's own mount namespace: run the daemon with one of its own (systemd: PrivateMounts=yes; or unshare -m).");
        }
    }

    /// <summary>
    /// The link RUNTIME/ublk/VOLUME; further devices of the same volume get the last part of their export's id as well.
    /// </summary>
    private static string LinkOf(string runtimeDirectory, ExportSpec spec)
    {
        string last = spec.Id[(spec.Id.LastIndexOf('/') + 1)..];
        return Path.Combine(runtimeDirectory, "ublk", last is "0" ? spec.VolumeName : $"{spec.VolumeName}-{last}");
    }

    private static string MakeLink(string link, uint number, List<string> notes)
    {
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(link)!);
            File.Delete(link);
            File.CreateSymbolicLink(link, UblkHost.BlockPath(number));
            return link;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            notes.Add($"The link {link} could not be made: {e.Message}");
            return UblkHost.BlockPath(number);
        }
    }
}
