// Can this host do it? What is missing, and the command that mends it.

using Polyblk.Core.Block;
using Polyblk.Core.Interop;

namespace Polyblk.Frontends.Ublk;

/// <summary>Looks at the host without changing anything.</summary>
internal static class UblkProbe
{
    /// <summary>The result for the command line and for <c>compare</c>.</summary>
    public static FrontendProbe Run(UblkHost host)
    {
        var facts = new Dictionary<string, string> { ["kernel"] = Environment.OSVersion.Version.ToString() };
        int fd = Libc.open(UblkControl.DevicePath, Libc.O_RDWR | Libc.O_CLOEXEC);
        if (fd < 0)
        {
            return new FrontendProbe(false, ExplainOpenFailure(-fd, host), Remedies(-fd, host), facts);
        }

        _ = Libc.close(fd);
        try
        {
            UblkFeatures features = Task.Run(() => ReadFeaturesAsync(unprivileged: false)).GetAwaiter().GetResult();
            AddFacts(facts, features);
            string modes = facts["copy modes"];
            return new FrontendProbe(true, $"The ublk driver is there (copy modes: {modes}).", [], facts);
        }
        catch (FrontendException e)
        {
            return new FrontendProbe(false, e.Message, [], facts);
        }
    }

    /// <summary>Asks the driver for its features.</summary>
    /// <exception cref="FrontendException">It cannot be asked.</exception>
    public static async Task<UblkFeatures> ReadFeaturesAsync(bool unprivileged)
    {
        UblkControl control = await UblkControl.OpenAsync(unprivileged).ConfigureAwait(false);
        await using (control.ConfigureAwait(false))
        {
            return await ReadFeaturesAsync(control).ConfigureAwait(false);
        }
    }

    /// <summary>Asks the driver for its features.</summary>
    /// <exception cref="FrontendException">It does not answer.</exception>
    public static async Task<UblkFeatures> ReadFeaturesAsync(IUblkControl control)
    {
        (int result, UblkFeatures features) = await control.GetFeaturesAsync().ConfigureAwait(false);
        return result >= 0
            ? features
            : throw new FrontendException($"The ublk driver does not tell its features (errno {-result}): Linux 6.5 or later is needed.");
    }

    /// <summary>Why the control device cannot be opened.</summary>
    public static string ExplainOpenFailure(int errno) => ExplainOpenFailure(errno, UblkHost.Local);

    private static string ExplainOpenFailure(int errno, UblkHost host) => errno switch
    {
        Errno.ENOENT when host.HasModule("ublk_drv") => "The ublk driver is not loaded: run modprobe ublk_drv.",
        Errno.ENOENT => "This kernel has no ublk driver (CONFIG_BLK_DEV_UBLK): Debian has it from Linux 6.12 on.",
        Errno.EACCES or Errno.EPERM => $"{UblkControl.DevicePath} may not be opened: run as root, or give the user access by a udev rule and use --unprivileged.",
        _ => $"{UblkControl.DevicePath} cannot be opened (errno {errno}).",
    };

    private static string[] Remedies(int errno, UblkHost host) => errno switch
    {
        Errno.ENOENT when host.HasModule("ublk_drv") => ["modprobe ublk_drv"],
        Errno.ENOENT => ["Install a kernel with ublk (Debian 13, or linux-image-amd64 from bookworm-backports), then run modprobe ublk_drv."],
        Errno.EACCES or Errno.EPERM =>
        [
            "Run as root (CAP_SYS_ADMIN).",
            "Or, for an unprivileged device: a udev rule KERNEL==\"ublk-control\", MODE=\"0666\", and the option --unprivileged.",
        ],
        _ => [],
    };

    private static void AddFacts(Dictionary<string, string> facts, UblkFeatures features)
    {
        facts["features"] = $"0x{(ulong)features:x} ({features})";
        var modes = new List<string> { "copy" };
        if ((features & UblkFeatures.UserCopy) != 0)
        {
            modes.Add("user-copy");
        }

        if ((features & UblkFeatures.AutoBufReg) != 0)
        {
            modes.Add("zero-copy");
        }

        facts["copy modes"] = string.Join(", ", modes);
        facts["recovery"] = Has(features, UblkFeatures.UserRecoveryReissue);
        facts["resize"] = Has(features, UblkFeatures.UpdateSize);
        facts["safe stop"] = Has(features, UblkFeatures.SafeStopDev);
    }

    private static string Has(UblkFeatures features, UblkFeatures one) => (features & one) != 0 ? "yes" : "no";
}
