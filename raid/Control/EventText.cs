namespace Polyblk.Raid.Control;

/// <summary>The wording of events.</summary>
internal static class EventText
{
    /// <summary>A sentence of its own, such as a warning of the status, as what follows the array's name in an event.</summary>
    public static string Of(string sentence) => char.ToLowerInvariant(sentence[0]) + sentence[1..].TrimEnd('.');
}
