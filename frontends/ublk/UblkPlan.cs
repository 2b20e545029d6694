// Which way the data of requests takes between the kernel and the device: decided once, when the export is made.
//
//   copy       the driver copies between the request's pages and a buffer of ours, inside the io_uring_enter that fetches or commits;
//   user copy  the same copy by pread and pwrite on /dev/ublkcN, when we want it: a buffer need not be ready beforehand;
//   zero copy  the driver registers the request's pages in the ring's buffer table before it hands the request over, and a drive reads
//              or writes them by READ_FIXED and WRITE_FIXED. The CPU of this process never sees the data, so it is used per direction:
//              an array that computes parity gets its reads without a copy and its writes by user copy.
//
// A device with zero copy also has user copy: should a request turn out to need the CPU after all (an array lost a member since),
// it takes that way. Flags can be asked for in vain: the driver masks those that it does not know, so what it gives back decides.

using Polyblk.Core.Block;

namespace Polyblk.Frontends.Ublk;

/// <summary>The way of the data.</summary>
public enum UblkCopyMode
{
    /// <summary>The driver copies.</summary>
    Copy,

    /// <summary>The server copies by pread and pwrite.</summary>
    UserCopy,

    /// <summary>Nobody copies, in the directions where the device can do without the CPU.</summary>
    ZeroCopy,
}

/// <summary>A decision: the mode, its directions, and the sentence that tells the user why.</summary>
internal sealed record UblkPlan(UblkCopyMode Mode, bool ZeroCopyReads, bool ZeroCopyWrites, string Reason)
{
    /// <summary>Names of the modes on the command line, <c>auto</c> first.</summary>
    public static readonly IReadOnlyList<string> ModeNames = ["auto", "copy", "user-copy", "zero-copy"];

    /// <summary>Whether requests need buffers of ours.</summary>
    public bool NeedsBuffers => Mode != UblkCopyMode.ZeroCopy || !ZeroCopyReads || !ZeroCopyWrites;

    /// <summary>The driver flags that the mode stands for.</summary>
    public UblkFeatures Flags => Mode switch
    {
        UblkCopyMode.UserCopy => UblkFeatures.UserCopy,
        UblkCopyMode.ZeroCopy => UblkFeatures.AutoBufReg | UblkFeatures.UserCopy,
        _ => UblkFeatures.None,
    };

    /// <summary>Chooses for a new device.</summary>
    /// <param name="wanted">One of <see cref="ModeNames"/>.</param>
    /// <param name="features">What the driver has.</param>
    /// <param name="limits">What the volume needs.</param>
    /// <param name="unprivileged">Whether the device is an ordinary user's: the driver then allows the copying mode only.</param>
    /// <exception cref="FrontendException">The mode that is asked for cannot be had.</exception>
    public static UblkPlan Choose(string wanted, UblkFeatures features, BlockLimits limits, bool unprivileged)
    {
        bool canZeroCopy = (features & (UblkFeatures.AutoBufReg | UblkFeatures.UserCopy)) == (UblkFeatures.AutoBufReg | UblkFeatures.UserCopy);
        bool canUserCopy = (features & UblkFeatures.UserCopy) != 0;
        bool useful = !limits.NeedsCpuAccessForReads || !limits.NeedsCpuAccessForWrites;
        switch (wanted)
        {
            case "auto" when unprivileged:
                return Copying("an unprivileged device has no other mode");
            case "auto" when useful && canZeroCopy:
                return ZeroCopying(limits);
            case "auto" when useful:
                return Copying("zero copy needs Linux 6.16 or later");
            case "auto":
                return Copying("the volume's data must pass through this process's CPU");
            case "copy":
                return Copying("as asked for");
            case "user-copy" when unprivileged:
            case "zero-copy" when unprivileged:
                throw new FrontendException($"An unprivileged ublk device has no mode '{wanted}': use --copy-mode copy, or run as root.");
            case "user-copy" when canUserCopy:
                return new UblkPlan(UblkCopyMode.UserCopy, false, false, "user copy: as asked for");
            case "user-copy":
                throw new FrontendException("This kernel's ublk driver has no user copy (Linux 6.5 has): use --copy-mode copy.");
            case "zero-copy" when !canZeroCopy:
                throw new FrontendException("This kernel's ublk driver cannot register buffers by itself (Linux 6.16 can): use --copy-mode auto.");
            case "zero-copy" when !useful:
                throw new FrontendException("This volume needs its data in memory (RAM, parity or a degraded array), so zero copy is not possible: "
                    + "use --copy-mode auto.");
            case "zero-copy":
                return ZeroCopying(limits);
            default:
                throw new FrontendException($"'{wanted}' is no copy mode: use one of {string.Join(", ", ModeNames)}.");
        }
    }

    /// <summary>The plan of a device that exists already: its flags are fixed.</summary>
    public static UblkPlan ForRecovered(UblkFeatures flags, BlockLimits limits)
    {
        if ((flags & UblkFeatures.AutoBufReg) != 0)
        {
            return ZeroCopying(limits);
        }

        return (flags & UblkFeatures.UserCopy) != 0
            ? new UblkPlan(UblkCopyMode.UserCopy, false, false, "user copy: the device was made so")
            : Copying("the device was made so");
    }

    private static UblkPlan Copying(string why) => new(UblkCopyMode.Copy, false, false, $"copy: {why}");

    private static UblkPlan ZeroCopying(BlockLimits limits)
    {
        bool reads = !limits.NeedsCpuAccessForReads;
        bool writes = !limits.NeedsCpuAccessForWrites;
        string why = (reads, writes) switch
        {
            (true, true) => "zero copy: the volume's code need not see the data",
            (true, false) => "zero copy for reads; writes are copied, since the volume's code must see their data (parity)",
            (false, true) => "zero copy for writes; reads are copied, since the volume's code must see their data",
            _ => "everything is copied: the volume's code must now see the data of reads and writes",
        };
        return new UblkPlan(UblkCopyMode.ZeroCopy, reads, writes, why);
    }
}
