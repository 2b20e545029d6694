namespace Polyblk.Frontends.Nbd;

/// <summary>The commands that attach an NBD export.</summary>
internal static class NbdAttach
{
    /// <summary>Builds them for an export.</summary>
    public static IReadOnlyList<AttachCommand> Build(ExportSpec spec, string socket)
    {
        string uri = $"nbd+unix:///{spec.VolumeName}?socket={socket}";
        string blockdev = $"driver=nbd,node-name={spec.VolumeName},server.type=unix,server.path={socket},export={spec.VolumeName},"
            + $"reconnect-delay=60,cache.direct=on,discard=unmap{(spec.ReadOnly ? ",read-only=on" : string.Empty)}";
        string device = $"virtio-blk-pci,drive={spec.VolumeName},serial={spec.Serial}";
        string block = $"{spec.Device.Limits.LogicalBlockSize}";
        return
        [
            Command("qemu", "A disk of a virtual machine; it waits up to 60 s for a target that is being restarted.", "-blockdev", blockdev, "-device", device),
            Command("shell", "Look at it.", "qemu-img", "info", uri),
            Command("shell", "Copy it.", "nbdcopy", "--progress", uri, "backup.img"),
            // The block size is said: older versions of nbd-client do not ask, and assume 512 or 1024 bytes.
            Command(
                "shell",
                "A block device of this host. When the target ends it fails: detach (-d) and attach again.",
                "nbd-client", "-unix", socket, "/dev/nbd0", "-name", spec.VolumeName, "-C", "4", "-b", block),
            Command("fio", "Load from fio's own NBD engine.", "fio", "--name=nbd", "--ioengine=nbd", $"--uri={uri}", "--rw=randread", "--bs=4k", "--iodepth=32"),
        ];
    }

    private static AttachCommand Command(string consumer, string purpose, params string[] arguments) =>
        new(consumer, purpose, string.Join(' ', arguments.Select(Quote)), arguments);

    private static string Quote(string argument) => argument.AsSpan().IndexOfAny("?&' ") >= 0 ? $"'{argument}'" : argument;
}
