using System.Globalization;

namespace Polyblk.Simulation.Tests.SmallModel;

/// <summary>A request of a sequence; places in sectors of 512 bytes.</summary>
internal sealed record SmallRequest(SmallKind Kind, int Sector, int Sectors)
{
    public int Offset => Sector * VolumeModel.BlockBytes;

    public int Length => Sectors * VolumeModel.BlockBytes;
}

internal enum SmallKind
{
    Write,
    DurableWrite,
    Zeroes,
    Discard,
    Flush,
}

/// <summary>A short sequence of writes.</summary>
/// <param name="Steps">The requests of a step are in flight together; the next one begins when they are answered.</param>
internal sealed record SmallSequence(SmallRequest[][] Steps)
{
    /// <summary>
    /// Reads "write 1+2 &amp; write 2+4, flush, zero 0+row": sectors, of which a row of the array has as many as the word row
    /// says; durable is a write with FUA.
    /// </summary>
    public static SmallSequence Parse(string text, int rowSectors) => new(
        [.. text.Split(',').Select(step => (SmallRequest[])[.. step.Split('&').Select(r => ParseRequest(r.Trim(), rowSectors))])]);

    private static SmallRequest ParseRequest(string text, int rowSectors)
    {
        string[] words = text.Replace("row", rowSectors.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal).Split(' ', '+');
        SmallKind kind = words[0] switch
        {
            "write" => SmallKind.Write,
            "durable" => SmallKind.DurableWrite,
            "zero" => SmallKind.Zeroes,
            "discard" => SmallKind.Discard,
            "flush" => SmallKind.Flush,
            _ => throw new FormatException($"there is no request {words[0]}"),
        };
        return kind == SmallKind.Flush
            ? new SmallRequest(kind, 0, 0)
            : new SmallRequest(kind, int.Parse(words[1], CultureInfo.InvariantCulture), int.Parse(words[2], CultureInfo.InvariantCulture));
    }
}
