// Making a device, or taking over what a predecessor left.
//
// A name may be free (the device is made), left behind and idle (it is destroyed and made anew), or attached while its daemon is
// gone (it is taken over, provided that the state file is of the same shape: without it nobody knows what was in flight), or
// served by a living process.

using Microsoft.Extensions.Logging;
using Polyblk.Core.Block;
using Polyblk.Virtio;

namespace Polyblk.Frontends.Vduse;

/// <summary>Opens /dev/vduse/NAME in whatever state the name is.</summary>
internal static class VduseDeviceSetup
{
    private const int OpenAttempts = 100;
    private static readonly TimeSpan s_openInterval = TimeSpan.FromMilliseconds(20);

    /// <summary>Makes the device, or finds that there is one of that name.</summary>
    /// <returns>Whether it was made: the caller is to destroy it when it gives up.</returns>
    /// <exception cref="FrontendException">The kernel refuses.</exception>
    public static bool Make(VduseControl control, VduseOptions options, VirtioBlkDevice virtio, ILogger log)
    {
        int rc = control.Create(options.Name, virtio, options.Queues);
        if (rc == -Errno.EEXIST && control.Destroy(options.Name) == 0)
        {
            log.LogInformation("{Name} was left behind unattached; it is made anew", options.Name);
            rc = control.Create(options.Name, virtio, options.Queues);
        }

        return rc switch
        {
            0 => true,
            -Errno.EEXIST => false,
            -Errno.EPERM or -Errno.EACCES => throw new FrontendException("VDUSE devices may only be made by root (CAP_SYS_ADMIN)."),
            _ => throw new FrontendException($"The kernel refused to make the VDUSE device {options.Name} (errno {-rc}); see 'dmesg'."),
        };
    }

    /// <summary>Opens a device that was made, and sets up its queues.</summary>
    /// <exception cref="FrontendException">It cannot be opened.</exception>
    public static async Task<VduseDeviceFile> OpenNewAsync(
        VduseOptions options, VduseStateFile state, TimeProvider clock, CancellationToken cancellation)
    {
        state.Renew();
        VduseDeviceFile kernel = await OpenAsync(options.Name, clock, cancellation).ConfigureAwait(false);
        try
        {
            for (int i = 0; i < options.Queues; i++)
            {
                kernel.SetupQueue(i, options.QueueSize);
            }

            return kernel;
        }
        catch
        {
            kernel.Dispose();
            throw;
        }
    }

    /// <summary>Opens a device that is attached and has lost its daemon.</summary>
    /// <param name="options">The device's options.</param>
    /// <param name="isKnown">Whether the state file is of the device's shape.</param>
    /// <param name="log">For what was found.</param>
    /// <param name="clock">The clock by which its node is waited for.</param>
    /// <param name="cancellation">Ends the waiting.</param>
    /// <exception cref="FrontendException">The name is taken by another.</exception>
    public static async Task<VduseDeviceFile> TakeOverAsync(
        VduseOptions options, bool isKnown, ILogger log, TimeProvider clock, CancellationToken cancellation)
    {
        VduseDeviceFile kernel = await OpenAsync(options.Name, clock, cancellation).ConfigureAwait(false);
        if (!isKnown)
        {
            kernel.Dispose();
            throw new FrontendException(
                $"The name {options.Name} is taken by an attached VDUSE device of another volume, or of another shape (queues, queue "
                + $"size, features), or whose state is in another state directory: serve it with the same options as before, or remove it with 'vdpa dev del {options.Name}', "
                + "or choose another name with --vduse-name.");
        }

        log.LogInformation("{Name} is attached and its daemon is gone; it is taken over", options.Name);
        return kernel;
    }

    /// <summary>Opens the node, which may appear a moment after the device.</summary>
    private static async Task<VduseDeviceFile> OpenAsync(string name, TimeProvider clock, CancellationToken cancellation)
    {
        string path = "/dev/vduse/" + name;
        int errno = 0;
        for (int i = 0; i < OpenAttempts; i++)
        {
            VduseDeviceFile? file = VduseDeviceFile.TryOpen(path, out errno);
            if (file is not null)
            {
                return file;
            }

            if (errno == Errno.EBUSY)
            {
                throw new FrontendException($"{path} is served by another process: choose another name with --vduse-name, or end that process.");
            }

            await Task.Delay(s_openInterval, clock, cancellation).ConfigureAwait(false);
        }

        throw new FrontendException($"{path} cannot be opened (errno {errno}).");
    }
}
