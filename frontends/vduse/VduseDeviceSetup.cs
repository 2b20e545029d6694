// Making a device, or taking over what a predecessor left.
//
// A name may be free (the device is made), left behind and idle (it is destroyed and made anew), or attached while its daemon is gone (it is
// taken over, provided that the state file is of the same shape: without it nobody knows what was in flight), or served by a living process.

using Microsoft.Extensions.Logging;
using Polyblk.Core.Block;
using Polyblk.Virtio;

namespace Polyblk.Frontends.Vduse;

/// <summary>Opens /dev/vduse/NAME in whatever state the name is.</summary>
internal static class VduseDeviceSetup
{
    private const int OpenAttempts = 100;
    private const int OpenIntervalMs = 20;

    /// <summary>Makes the device, or opens one that is attached and has lost its daemon.</summary>
    /// <param name="isNew">Whether it was made, also when opening it then fails: the caller is to destroy it when it gives up.</param>
    /// <exception cref="FrontendException">The name is taken, or the kernel refuses.</exception>
    public static VduseDeviceFile MakeOrTakeOver(
        VduseControl control, VduseOptions options, VirtioBlkDevice virtio, VduseStateFile state, bool isKnown, ILogger log, out bool isNew)
    {
        int rc = control.Create(options.Name, virtio, options.Queues);
        if (rc == -Errno.EEXIST && control.Destroy(options.Name) == 0)
        {
            log.LogInformation("{Name} was left behind unattached; it is made anew", options.Name);
            rc = control.Create(options.Name, virtio, options.Queues);
        }

        isNew = rc == 0;
        return rc switch
        {
            0 => OpenNew(options, state),
            -Errno.EEXIST => TakeOver(options, isKnown, log),
            -Errno.EPERM or -Errno.EACCES => throw new FrontendException("VDUSE devices may only be made by root (CAP_SYS_ADMIN)."),
            _ => throw new FrontendException($"The kernel refused to make the VDUSE device {options.Name} (errno {-rc}); see 'dmesg'."),
        };
    }

    private static VduseDeviceFile OpenNew(VduseOptions options, VduseStateFile state)
    {
        state.Renew();
        VduseDeviceFile kernel = Open(options.Name);
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

    private static VduseDeviceFile TakeOver(VduseOptions options, bool isKnown, ILogger log)
    {
        VduseDeviceFile kernel = Open(options.Name);
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
    private static VduseDeviceFile Open(string name)
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

            Thread.Sleep(OpenIntervalMs);
        }

        throw new FrontendException($"{path} cannot be opened (errno {errno}).");
    }
}
