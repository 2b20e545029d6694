// What leads to a drive in a rack: its stable name, its serial number, and where it is plugged in.

using Polyblk.Host.Model;

namespace Polyblk.Host.Volumes;

/// <summary>Looks at sysfs. Some attributes ask the device, and a device that hangs may keep whoever reads them.</summary>
/// <param name="sysfs">Where sysfs is.</param>
public sealed class DriveIdentity(string sysfs = "/sys")
{
    private const string EnclosurePrefix = "enclosure_device:";

    private static readonly string[] s_serials =
        ["device/serial", "serial", "../device/serial", "../serial", "device/wwid", "wwid"];

    /// <summary>All that is known of a drive now.</summary>
    /// <param name="path">Its path, as the volume has it.</param>
    public DriveJson Of(string path)
    {
        string real = DriveList.RealPath(path);
        if (!real.StartsWith("/dev/", StringComparison.Ordinal))
        {
            return new DriveJson(path);
        }

        string stable = DriveList.StablePath(path);
        string device = Path.GetFileName(real);
        return new DriveJson(path)
        {
            ById = stable.StartsWith("/dev/disk/by-id/", StringComparison.Ordinal) ? stable : null,
            Serial = SerialOf(device),
            Slot = SlotOf(device),
        };
    }

    /// <summary>
    /// The serial number by sysfs: SCSI disks have page 0x80 of their vital product data, NVMe and virtio an attribute.
    /// </summary>
    /// <param name="device">What the kernel calls the device: <c>sda</c>.</param>
    public string? SerialOf(string device) =>
        s_serials.Select(attribute => Read(Path.Combine(FolderOf(device), attribute))).FirstOrDefault(text => text is not null);

    /// <summary>The slot: of an enclosure that the kernel knows (ses), or of the board for a PCI device.</summary>
    /// <param name="device">What the kernel calls the device.</param>
    public string? SlotOf(string device)
    {
        string folder = FolderOf(device);
        string? inEnclosure = Names(Path.Combine(folder, "device"), EnclosurePrefix + "*").FirstOrDefault();
        if (inEnclosure is not null)
        {
            return Printable.Line(inEnclosure[EnclosurePrefix.Length..]);
        }

        // The innermost PCI device on the way to it, which a slot names without its function.
        string? address = folder.Split('/').LastOrDefault(p => p is { Length: 12 } && p[4] == ':' && p[7] == ':' && p[10] == '.');
        string slots = Path.Combine(sysfs, "bus/pci/slots");
        return address is null ? null
            : Names(slots, "*").FirstOrDefault(slot => Read(Path.Combine(slots, slot, "address")) == address[..^2]) is string name
                ? Printable.Line(name)
                : null;
    }

    private static IEnumerable<string> Names(string folder, string pattern)
    {
        try
        {
            return
            [
                .. Directory.EnumerateFileSystemEntries(folder, pattern).Select(Path.GetFileName).OfType<string>()
                    .Order(StringComparer.Ordinal),
            ];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    private static string? Read(string attribute)
    {
        try
        {
            string text = File.Exists(attribute) ? File.ReadAllText(attribute).Trim('\0', ' ', '\n') : string.Empty;
            return text.Length > 0 ? Printable.Line(text) : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null; // Some devices have the attribute and do not answer: the next one may.
        }
    }

    // Paths of .NET lose ".." before any link is followed: a partition's disk is its folder's parent only in the resolved path.
    private string FolderOf(string device)
    {
        string folder = Path.Combine(sysfs, "class/block", device.Replace('/', '!'));
        try
        {
            return Path.GetFullPath(Directory.ResolveLinkTarget(folder, returnFinalTarget: true)?.FullName ?? folder);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return Path.GetFullPath(folder); // There is none such, or the device has just gone.
        }
    }
}
