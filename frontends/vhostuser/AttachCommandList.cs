// The exact ways to attach a vhost-user export, for its user to copy.
//
// Guest memory must be shared with the target, hence the memory object. num-queues is given where the number of queues was: QEMU
// uses its own number and not the one that the back-end offers, by default one for each of the guest's processors, which is
// right. The reconnect option makes a VM wait for a target that is restarted instead of losing its disk.

namespace Polyblk.Frontends.VhostUser;

/// <summary>Makes <see cref="AttachCommand"/>s.</summary>
internal static class AttachCommandList
{
    /// <summary>QEMU's largest queue-size for vhost-user-blk.</summary>
    private const int QemuMaxQueueSize = 1024;

    public static IReadOnlyList<AttachCommand> Make(string id, string path, VhostUserOptions options)
    {
        // Identifiers of QEMU objects: letters, digits, '-', '.', '_'; a letter first.
        string name = "polyblk-" + string.Concat(id.Select(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '.' or '_' ? c : '-'));
        return
        [
            Qemu(name, path, options, "reconnect-ms=20", "Attach to a QEMU virtual machine (QEMU 9.2 and later); set size= to the value of -m."),
            Qemu(name, path, options, "reconnect=1", "The same for QEMU older than 9.2."),
            Libvirt(path, options),
            Fio(path, options),
        ];
    }

    private static AttachCommand Qemu(string name, string path, VhostUserOptions options, string reconnect, string purpose)
    {
        int queueSize = Math.Min(options.QueueSize, QemuMaxQueueSize);
        string queues = options.AreQueuesGiven ? $",num-queues={options.Queues}" : string.Empty;
        string packed = options.Packed ? ",packed=on" : string.Empty;
        string[] arguments =
        [
            "-m", "1G",
            "-object", "memory-backend-memfd,id=polyblk-mem,size=1G,share=on",
            "-machine", "q35,memory-backend=polyblk-mem",
            "-chardev", $"socket,id={name},path={path.Replace(",", ",,", StringComparison.Ordinal)},{reconnect}",
            "-device", $"vhost-user-blk-pci,chardev={name}{queues},queue-size={queueSize}{packed}",
        ];
        return new AttachCommand("qemu", purpose, "qemu-system-x86_64 " + Join(arguments), arguments);
    }

    private static AttachCommand Libvirt(string path, VhostUserOptions options)
    {
        string queues = options.AreQueuesGiven ? $" queues='{options.Queues}'" : string.Empty;
        string escaped = System.Security.SecurityElement.Escape(path);
        string text = $"""
            <memoryBacking>
              <source type='memfd'/>
              <access mode='shared'/>
            </memoryBacking>
            <devices>
              <disk type='vhostuser' device='disk'>
                <driver name='qemu' type='raw'{queues} queue_size='{Math.Min(options.QueueSize, QemuMaxQueueSize)}'/>
                <source type='unix' path='{escaped}'>
                  <reconnect enabled='yes' timeout='1'/>
                </source>
                <target dev='vdb' bus='virtio'/>
              </disk>
            </devices>
            """;
        return new AttachCommand("libvirt", "Attach to a libvirt domain; merge this into its XML.", text, []);
    }

    private static AttachCommand Fio(string path, VhostUserOptions options)
    {
        string[] arguments =
        [
            "fio", "--name=polyblk", "--ioengine=libblkio", "--libblkio_driver=virtio-blk-vhost-user", $"--libblkio_path={path}",
            $"--libblkio_pre_start_props=queue-size={Math.Min(options.QueueSize, 256)}",
            "--rw=randread", "--bs=4k", "--iodepth=32", "--hipri", "--thread", "--time_based", "--runtime=10",
        ];
        return new AttachCommand("fio", "Measure without a virtual machine (a fio that was built with libblkio; Debian's is not).", Join(arguments), arguments);
    }

    private static string Join(IEnumerable<string> arguments) => string.Join(' ', arguments.Select(Quote));

    private static string Quote(string argument) =>
        argument.All(c => char.IsAsciiLetterOrDigit(c) || "-_=./,:+@".Contains(c, StringComparison.Ordinal))
            ? argument
            : "'" + argument.Replace("'", "'\\''", StringComparison.Ordinal) + "'";
}
