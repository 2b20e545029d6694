// The exact commands that use a device: on the host, in a container, in a virtual machine.

using Polyblk.Core.Block;

namespace Polyblk.Frontends.Ublk;

/// <summary>Builds the attach commands of an export.</summary>
internal static class UblkAttach
{
    /// <summary>The commands for a device node. <paramref name="stableLink"/> keeps pointing at it whatever its number.</summary>
    public static IReadOnlyList<AttachCommand> Build(string device, string stableLink, string volume, long sizeBytes, BlockLimits limits, bool readOnly)
    {
        string mode = readOnly ? "r" : "rw";
        string mount = readOnly ? "mount -o ro" : "mount";
        var commands = new List<AttachCommand>();
        if (!readOnly)
        {
            commands.Add(Command("shell", "Make an XFS file system, aligned to the volume's stripes.", ["mkfs.xfs", .. XfsGeometry(limits), device]));
            commands.Add(Command("shell", "Or an ext4 file system.", ["mkfs.ext4", .. Ext4Geometry(limits), device]));
        }

        commands.Add(Command("shell", "Mount it.", [.. mount.Split(' '), device, "/mnt"]));
        commands.Add(Command(
            "docker", "Give it to a container as /dev/data.", ["docker", "run", $"--device={device}:/dev/data:{mode}", "IMAGE"]));
        commands.Add(Command(
            "podman", "The same with Podman.", ["podman", "run", $"--device={device}:/dev/data:{mode}", "IMAGE"]));
        commands.Add(new AttachCommand("kubernetes", "A raw block volume on this node.", Kubernetes(stableLink, volume, sizeBytes, readOnly), []));
        commands.Add(Command(
            "qemu",
            "Give it to a virtual machine through QEMU's own virtio-blk.",
            [
                "-blockdev",
                $"driver=host_device,node-name={volume},filename={device},aio=io_uring,cache.direct=on,discard=unmap,read-only={(readOnly ? "on" : "off")}",
                "-device", $"virtio-blk-pci,drive={volume}",
            ]));
        commands.Add(Command(
            "fio",
            "Measure it.",
            ["fio", "--name=polyblk", $"--filename={device}", "--rw=randread", "--bs=4k", "--iodepth=32", "--ioengine=io_uring", "--direct=1", "--runtime=10", "--time_based"]));
        return commands;
    }

    private static AttachCommand Command(string consumer, string purpose, string[] arguments) =>
        new(consumer, purpose, string.Join(' ', arguments), arguments);

    private static string[] XfsGeometry(BlockLimits limits)
    {
        if (limits.OptimalIoSize <= limits.MinimumIoSize || limits.OptimalIoSize % limits.MinimumIoSize != 0)
        {
            return [];
        }

        return ["-d", $"su={limits.MinimumIoSize},sw={limits.OptimalIoSize / limits.MinimumIoSize}"];
    }

    private static string[] Ext4Geometry(BlockLimits limits)
    {
        const int block = 4096;
        if (limits.OptimalIoSize <= limits.MinimumIoSize || limits.MinimumIoSize % block != 0)
        {
            return [];
        }

        return ["-b", $"{block}", "-E", $"stride={limits.MinimumIoSize / block},stripe_width={limits.OptimalIoSize / block}"];
    }

    private static string Kubernetes(string device, string volume, long sizeBytes, bool readOnly)
    {
        string name = string.Concat(volume.ToLowerInvariant().Select(c => char.IsAsciiLetterOrDigit(c) ? c : '-')).Trim('-');
        string access = readOnly ? "ReadOnlyMany" : "ReadWriteOnce";
        return $"""
            apiVersion: v1
            kind: PersistentVolume
            metadata:
              name: {name}
            spec:
              capacity:
                storage: "{sizeBytes}"
              volumeMode: Block
              accessModes: [{access}]
              persistentVolumeReclaimPolicy: Retain
              storageClassName: polyblk
              local:
                path: {device}
              nodeAffinity:
                required:
                  nodeSelectorTerms:
                    - matchExpressions:
                        - key: kubernetes.io/hostname
                          operator: In
                          values: ["{Environment.MachineName}"]
            ---
            apiVersion: v1
            kind: PersistentVolumeClaim
            metadata:
              name: {name}
            spec:
              volumeMode: Block
              accessModes: [{access}]
              storageClassName: polyblk
              volumeName: {name}
              resources:
                requests:
                  storage: "{sizeBytes}"
            ---
            apiVersion: v1
            kind: Pod
            metadata:
              name: {name}-user
            spec:
              containers:
                - name: main
                  image: IMAGE
                  volumeDevices:
                    - name: data
                      devicePath: /dev/data
              volumes:
                - name: data
                  persistentVolumeClaim:
                    claimName: {name}
            """;
    }
}
