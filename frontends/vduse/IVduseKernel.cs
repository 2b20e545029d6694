using Polyblk.Virtio.Memory;

namespace Polyblk.Frontends.Vduse;

/// <summary>A piece of I/O virtual memory that the kernel gave.</summary>
/// <param name="Start">First I/O virtual address.</param>
/// <param name="Mapping">Its memory, with a reference for the caller.</param>
internal readonly record struct IotlbRegion(ulong Start, MappedRegion Mapping);

/// <summary>
/// What the kernel offers on /dev/vduse/NAME: the seam at which a test plays the kernel. Any thread, but messages are read by
/// one. Errors of the kernel are <see cref="IOException"/>, except where a result says otherwise.
/// </summary>
internal interface IVduseKernel : IDisposable
{
    /// <summary>Waits for a message; false after <see cref="Wake"/>.</summary>
    bool TryReadMessage(out vduse_dev_request request);

    /// <summary>Answers a message.</summary>
    void Answer(in vduse_dev_response response);

    /// <summary>Ends <see cref="TryReadMessage"/>.</summary>
    void Wake();

    /// <summary>The features that the driver chose.</summary>
    ulong GetDriverFeatures();

    /// <summary>State of a queue.</summary>
    vduse_vq_info GetQueueInfo(int index);

    /// <summary>Sets up a queue before the device is attached.</summary>
    void SetupQueue(int index, int maxSize);

    /// <summary>
    /// Where the kernel signals kicks; <see cref="VduseAbi.VDUSE_EVENTFD_DEASSIGN"/> for nowhere. Failure is not reported.
    /// </summary>
    void SetKick(int index, int eventFd);

    /// <summary>Interrupts the driver. On a reactor: returns 0 or a negative errno.</summary>
    int InjectInterrupt(int index);

    /// <summary>Changes the configuration space and tells the driver.</summary>
    void ChangeConfig(int offset, ReadOnlySpan<byte> bytes);

    /// <summary>Maps the memory around an I/O virtual address; null when there is none. On a reactor.</summary>
    IotlbRegion? MapIotlb(ulong address);

    /// <summary>No queue runs, and what <see cref="MapIotlb"/> gave is about to be let go.</summary>
    void ForgetIotlb();
}
