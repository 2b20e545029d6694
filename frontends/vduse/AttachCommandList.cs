// The exact ways to attach a VDUSE export, for its user to copy.

namespace Polyblk.Frontends.Vduse;

/// <summary>Makes <see cref="AttachCommand"/>s.</summary>
internal static class AttachCommandList
{
    public static IReadOnlyList<AttachCommand> Make(VduseOptions options, string node) => options.Attachment switch
    {
        VdpaAttachment.Virtio => ForBlockDevice(node),
        VdpaAttachment.Vhost => [Qemu(node)],
        _ => node.StartsWith("/dev/vduse/", StringComparison.Ordinal) ? ByHand(options.Name)
            : node.StartsWith("/dev/vhost", StringComparison.Ordinal) ? [Qemu(node)] : ForBlockDevice(node),
    };

    private static AttachCommand[] ByHand(string name) =>
    [
        Shell("Attach to this host and its containers as /dev/vdX (needs: modprobe virtio_vdpa).", "vdpa", "dev", "add", "name", name, "mgmtdev", "vduse"),
        Shell("Detach.", "vdpa", "dev", "del", name),
        Qemu("/dev/vhost-vdpa-0"),
    ];

    private static AttachCommand[] ForBlockDevice(string node)
    {
        string pod = $"""
            apiVersion: v1
            kind: PersistentVolume
            metadata:
              name: polyblk-{Path.GetFileName(node)}
            spec:
              capacity:
                storage: 1Gi
              accessModes: [ReadWriteOnce]
              volumeMode: Block
              local:
                path: {node}
              nodeAffinity:
                required:
                  nodeSelectorTerms:
                    - matchExpressions:
                        - key: kubernetes.io/hostname
                          operator: In
                          values: [{Environment.MachineName}]
            """;
        return
        [
            Command("docker", "Give the disk to a container.", "docker", "run", "--rm", "-it", $"--device={node}:/dev/xvda", "debian", "bash"),
            new AttachCommand("kubernetes", "A raw block volume on this node; set the size.", pod, []),
            Command(
                "fio", "Measure random reads.", "fio", "--name=read", $"--filename={node}", "--rw=randread", "--bs=4k", "--iodepth=32", "--ioengine=libaio",
                "--direct=1", "--runtime=10", "--time_based"),
        ];
    }

    private static AttachCommand Qemu(string node) => Command(
        "qemu",
        "Attach to a QEMU virtual machine; set size= to the value of -m.",
        "qemu-system-x86_64", "-m", "1G", "-object", "memory-backend-memfd,id=polyblk-mem,size=1G,share=on", "-machine", "q35,memory-backend=polyblk-mem",
        "-device", $"vhost-vdpa-device-pci,vhostdev={node}");

    private static AttachCommand Shell(string purpose, params string[] arguments) => Command("shell", purpose, arguments);

    private static AttachCommand Command(string consumer, string purpose, params string[] arguments) =>
        new(consumer, purpose, string.Join(' ', arguments), arguments);
}
