// How many queues and iothreads a disk gets, and which queue runs on which.
//
// Defaults: a queue for each vCPU (each guest CPU then submits without sharing a queue), at most QEMU's limit; one iothread for
// every two vCPUs, no more than this host has processors. Queues are dealt to the iothreads in turn: queue i to iothread i modulo
// their number, which is QEMU's own rule when the mapping names no queues; it is written out so that it can be seen and changed.

namespace Polyblk.Frontends.VirtioIothread;

/// <summary>The shape of one disk in QEMU.</summary>
/// <param name="Vcpus">vCPUs of the guest.</param>
/// <param name="Iothreads">Iothreads, 1 to the number of queues.</param>
/// <param name="Queues">Virtqueues.</param>
/// <param name="QueueSize">Entries of each queue.</param>
/// <param name="Cpus">Host processors for the iothreads, one each, or empty for no pinning.</param>
internal sealed record IothreadPlan(int Vcpus, int Iothreads, int Queues, int QueueSize, IReadOnlyList<int> Cpus)
{
    /// <summary>VIRTIO_QUEUE_MAX of QEMU.</summary>
    public const int MaxQueues = 1024;

    /// <summary>The queues of an iothread.</summary>
    public IEnumerable<int> QueuesOf(int iothread) => Enumerable.Range(0, Queues).Where(q => q % Iothreads == iothread);

    /// <summary>The name of an iothread object.</summary>
    public static string NameOf(int iothread) => $"iot{iothread}";

    /// <summary>Host processor of an iothread, or null.</summary>
    public int? CpuOf(int iothread) => Cpus.Count == 0 ? null : Cpus[iothread % Cpus.Count];
}
