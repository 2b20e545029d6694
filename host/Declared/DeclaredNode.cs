namespace Polyblk.Host.Declared;

/// <summary>A part of a document.</summary>
/// <param name="At">Where it begins.</param>
internal abstract record DeclaredNode(Place At)
{
    /// <summary>What it is, for who gave something else.</summary>
    public abstract string What { get; }
}

/// <summary>A single value.</summary>
/// <param name="At">Where it begins.</param>
/// <param name="Text">Its text.</param>
/// <param name="IsPlain">Whether it stands without quotes: only then it may be a number, true, false or null.</param>
internal sealed record DeclaredText(Place At, string Text, bool IsPlain) : DeclaredNode(At)
{
    /// <summary>Whether nothing stands there.</summary>
    public bool IsNull => IsPlain && Text is "" or "~" or "null" or "Null" or "NULL";

    public override string What => IsNull ? "nothing" : $"'{Text}'";
}

/// <summary>Parts one after the other.</summary>
internal sealed record DeclaredList(Place At, IReadOnlyList<DeclaredNode> Items) : DeclaredNode(At)
{
    public override string What => "a list";
}

/// <summary>Parts by their keys.</summary>
internal sealed record DeclaredMap(Place At, IReadOnlyList<KeyValuePair<DeclaredText, DeclaredNode>> Entries) : DeclaredNode(At)
{
    public override string What => "keys and values";
}
