using Polyblk.Core.Block;

namespace Polyblk.Frontends.Ublk.Tests;

/// <summary>The volume's side: keeps requests until the test completes them, or answers at once.</summary>
internal sealed class RecordingDevice : IBlockQueue
{
    public List<BlockRequest> Requests { get; } = [];

    /// <summary>When set, requests complete inside Submit with its answer.</summary>
    public Func<BlockRequest, int>? Answer { get; set; }

    public void Submit(BlockRequest request)
    {
        if (Answer is null)
        {
            Requests.Add(request);
        }
        else
        {
            request.Complete(Answer(request));
        }
    }

    public void Complete(int index, int status)
    {
        BlockRequest request = Requests[index];
        Requests.RemoveAt(index);
        request.Complete(status);
    }

    public void Dispose()
    {
    }
}
