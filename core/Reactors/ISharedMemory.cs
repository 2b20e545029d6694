// What a reactor is told of the memory of others (SharedMemory.cs).

namespace Polyblk.Core.Reactors;

/// <summary>Memory that somebody shares with this process, and in which the data of requests lies.</summary>
public unsafe interface ISharedMemory
{
    /// <summary>First byte, at the start of a page.</summary>
    byte* Address { get; }

    /// <summary>Its length in bytes.</summary>
    ulong SizeBytes { get; }

    /// <summary>Whether it may be written.</summary>
    bool IsWritable { get; }
}

/// <summary>
/// The word of whoever shares memory that its pages stay the ones they are: who uses it may hold them. A file whose pages are
/// given back and allocated anew (a balloon, virtio-mem, free page reporting) is not such memory: who held its pages would have
/// the old ones.
/// </summary>
/// <param name="Refused">
/// Told, on the reactor's thread and once for each ring and region, the errno with which the kernel refused to hold them; nothing
/// else fails then.
/// </param>
public sealed record PinPermit(Action<int> Refused);

/// <summary>Somebody who prepares the memory in which requests' data will lie. Called on the reactor's thread.</summary>
public interface ISharedMemoryUser
{
    /// <summary>Memory has come: it is mapped until <see cref="OnWithdrawn"/>.</summary>
    /// <param name="memory">The memory; it comes once, however many share it.</param>
    /// <param name="pinning">The permit to hold its pages, or null.</param>
    void OnShared(ISharedMemory memory, PinPermit? pinning);

    /// <summary>It is about to go. Requests in flight may still point into it; it stays mapped until they are back.</summary>
    void OnWithdrawn(ISharedMemory memory);
}
