namespace Polyblk.Core.Block;

/// <summary>
/// Requests that wait their turn, first come first served, linked through <see cref="BlockRequest.NextWaiting"/>: nothing is
/// allocated, and a request is in one list at a time. One thread; a mutable struct, to be kept in a field that is not readonly.
/// </summary>
public struct RequestList
{
    private BlockRequest? _last;

    /// <summary>The one that has waited longest; it stays in the list.</summary>
    public BlockRequest? First { get; private set; }

    /// <summary>Whether nobody waits.</summary>
    public readonly bool IsEmpty => First is null;

    /// <summary>Adds one at the end.</summary>
    public void Append(BlockRequest request)
    {
        request.NextWaiting = null;
        if (First is null)
        {
            First = request;
        }
        else
        {
            _last!.NextWaiting = request;
        }

        _last = request;
    }

    /// <summary>Takes the first one out; null when nobody waits.</summary>
    public BlockRequest? TakeFirst()
    {
        BlockRequest? request = First;
        if (request is not null)
        {
            First = request.NextWaiting;
            request.NextWaiting = null;
        }

        return request;
    }

    /// <summary>Puts one that was taken, and could not be served, back to where it was.</summary>
    public void PutBack(BlockRequest request)
    {
        request.NextWaiting = First;
        if (First is null)
        {
            _last = request;
        }

        First = request;
    }
}
