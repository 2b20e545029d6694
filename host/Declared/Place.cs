namespace Polyblk.Host.Declared;

/// <summary>Where something stands in a document.</summary>
/// <param name="Line">The line, from 1.</param>
/// <param name="Column">The column, from 1.</param>
public readonly record struct Place(long Line, long Column) : IComparable<Place>
{
    /// <summary>In the order of the text.</summary>
    public int CompareTo(Place other) => (Line, Column).CompareTo((other.Line, other.Column));

    /// <inheritdoc/>
    public override string ToString() => $"{Line}:{Column}";

    /// <summary>In the order of the text.</summary>
    public static bool operator <(Place left, Place right) => left.CompareTo(right) < 0;

    /// <summary>In the order of the text.</summary>
    public static bool operator >(Place left, Place right) => left.CompareTo(right) > 0;

    /// <summary>In the order of the text.</summary>
    public static bool operator <=(Place left, Place right) => left.CompareTo(right) <= 0;

    /// <summary>In the order of the text.</summary>
    public static bool operator >=(Place left, Place right) => left.CompareTo(right) >= 0;
}
