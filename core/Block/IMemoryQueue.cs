namespace Polyblk.Core.Block;

/// <summary>
/// A queue of a drive that is memory of this process, not volatile in the sense of a cache, always readable and writable. Who has
/// a range for himself (an array under its lock) may read and write it in place, with the effect of requests that have completed.
/// </summary>
public unsafe interface IMemoryQueue : IBlockQueue
{
    /// <summary>The drive's first byte; all of its size follows. Valid until the queue is disposed.</summary>
    byte* Memory { get; }
}
