namespace Polyblk.Core.Block;

/// <summary>
/// A submitter whose requests may be called done while a drive still has them, to read what it was given to write: a drive that
/// does not answer, and whose answer nobody needs any more.
/// </summary>
public interface IMemoryLender : IBlockCompletion
{
    /// <summary>
    /// Keeps the memory behind the segments of a write where it is, mapped and the submitter's own, also when the request is done
    /// and when whoever it was for has gone. What is in it may change. On the reactor that submitted the request, which is not
    /// done yet.
    /// </summary>
    /// <returns>What gives the memory back, on the same reactor; null where it cannot be lent.</returns>
    IDisposable? Lend(BlockRequest request);
}
