namespace Polyblk.Raid.Parity;

/// <summary>
/// What a kernel computes in one pass over its sources: some sums with coefficients, and an XOR. Each source is read once.
/// </summary>
internal unsafe ref struct StripeSums
{
    /// <summary>The blocks that are read: those that count for the XOR first.</summary>
    public byte** Sources;

    /// <summary>How many.</summary>
    public int Count;

    /// <summary>How many of them, from the first, count for the XOR.</summary>
    public int XorCount;

    /// <summary>Where a copy of each source goes; null where there is to be none, of one of them or of any.</summary>
    public byte** Copies;

    /// <summary>The coefficients of the sums; null where there are none.</summary>
    public StripeMatrix? Matrix;

    /// <summary>Where the sums go.</summary>
    public byte** Outputs;

    /// <summary>How many, 0 to 8; at most 7 with copies.</summary>
    public int Rows;

    /// <summary>Where the XOR goes; null where none is wanted.</summary>
    public byte* Xor;

    /// <summary>So many of the sums, from the first, are added to the XOR in the end.</summary>
    public int Added;
}
