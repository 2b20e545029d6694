using Polyblk.Host;
using Polyblk.Host.Volumes;

namespace Polyblk.Api;

/// <summary>Drives as clients name them: the daemon's folder is no client's.</summary>
internal static class WholePath
{
    /// <summary>Returns the drive.</summary>
    /// <exception cref="RefusalException">It is named by no whole path.</exception>
    public static string Check(string? drive) => drive is not null && DriveList.ToAbsolute(drive) == drive ? drive
        : throw RefusalException.Invalid(
            $"'{Printable.Line(drive ?? "null")}' is no whole path.", "Name drives by their whole paths, such as /dev/sdb.");

    /// <summary>Returns the drive, or the number of a member.</summary>
    /// <exception cref="RefusalException">It is named by no whole path.</exception>
    public static string CheckMember(string drive) => ArrayVolume.IsNumber(drive, out _) ? drive : Check(drive);
}
