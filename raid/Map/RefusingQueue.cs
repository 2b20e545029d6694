using Polyblk.Core.Block;

namespace Polyblk.Raid.Map;

/// <summary>The way to something that is not there: every request ends with an error, inside its submission.</summary>
/// <param name="errno">The error, positive.</param>
internal sealed class RefusingQueue(int errno) : IBlockQueue
{
    public void Submit(BlockRequest request) => request.Complete(-errno);

    public void Dispose()
    {
    }
}
