namespace Polyblk.Compare.Load;

/// <summary>
/// One queue to a device with slots that each hold one request and its buffer: what the built-in load drives. One thread uses it.
/// </summary>
public interface ILoadQueue
{
    /// <summary>Requests that may be in flight.</summary>
    int Slots { get; }

    /// <summary>The buffer of a slot.</summary>
    Span<byte> Buffer(int slot);

    /// <summary>Starts a request in a free slot.</summary>
    void Submit(int slot, bool write, long offsetBytes, int lengthBytes);

    /// <summary>Makes what was submitted visible to the device.</summary>
    void Flush();

    /// <summary>Takes completed requests.</summary>
    /// <param name="completed">Slots that are free again.</param>
    /// <param name="failed">How many of them ended with an error.</param>
    /// <returns>How many were taken.</returns>
    int Poll(Span<int> completed, out int failed);
}
