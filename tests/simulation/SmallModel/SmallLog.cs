namespace Polyblk.Simulation.Tests.SmallModel;

/// <summary>
/// What the consumer of a small array knew when: from it the model of any moment is made anew. In the beginning the whole volume
/// holds a first write, durably.
/// </summary>
internal sealed class SmallLog(long volumeBytes)
{
    private readonly List<(int At, SmallRequest Request, int Number, bool IsEnd)> _entries = [];
    private int _begun;

    /// <summary>The moment from which on the array is stopped in order; <see cref="int.MaxValue"/> before.</summary>
    public int StoppedAt { get; set; } = int.MaxValue;

    /// <summary>A request begins. Returns its number.</summary>
    public int Begin(int now, SmallRequest request)
    {
        _entries.Add((now, request, _begun, IsEnd: false));
        return _begun++;
    }

    /// <summary>It was answered with success.</summary>
    public void End(int now, SmallRequest request, int number) => _entries.Add((now, request, number, IsEnd: true));

    /// <summary>How much was known at a moment: moments with the same number have the same model.</summary>
    public int StateAt(int now) => _entries.Count(e => e.At <= now);

    /// <summary>The model when power goes out in such a state, and the blocks that were open.</summary>
    public (VolumeModel Model, SortedSet<long> Open) ModelOf(int state)
    {
        var model = new VolumeModel(volumeBytes);
        _ = First(model);
        var begun = new Dictionary<int, (ModelWrite? Write, long Step)>();
        foreach ((_, SmallRequest request, int number, bool isEnd) in _entries.Take(state))
        {
            if (isEnd)
            {
                End(model, request, begun[number]);
            }
            else
            {
                begun[number] = Begin(model, request);
            }
        }

        var open = new SortedSet<long>();
        model.LosePower(open);
        return (model, open);
    }

    /// <summary>The first write: what it writes everywhere.</summary>
    public byte[] First(VolumeModel model)
    {
        (ModelWrite write, byte[] data) = model.BeginWrite(0, (int)volumeBytes);
        model.End(write, success: true);
        model.Flushed(model.Step());
        return data;
    }

    /// <summary>What a write request writes: that of the model whose requests were begun in the same order.</summary>
    public static (ModelWrite Write, byte[] Data) BeginWrite(VolumeModel model, SmallRequest request) =>
        request.Kind is SmallKind.Write or SmallKind.DurableWrite
            ? model.BeginWrite(request.Offset, request.Length)
            : (model.BeginZeroes(request.Offset, request.Length, request.Kind == SmallKind.Discard), []);

    private static (ModelWrite? Write, long Step) Begin(VolumeModel model, SmallRequest request) =>
        request.Kind == SmallKind.Flush ? (null, model.Step()) : (BeginWrite(model, request).Write, 0);

    private static void End(VolumeModel model, SmallRequest request, (ModelWrite? Write, long Step) begun)
    {
        if (begun.Write is not { } write)
        {
            model.Flushed(begun.Step);
            return;
        }

        model.End(write, success: true);
        if (request.Kind == SmallKind.DurableWrite)
        {
            write.Durable = write.Acknowledged;
        }
    }
}
