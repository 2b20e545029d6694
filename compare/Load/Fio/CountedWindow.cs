namespace Polyblk.Compare.Load.Fio;

/// <summary>
/// The part of fio's counted time in which processor times are read, clear of both of its ends: when it begins is known from
/// outside to some milliseconds only. Readings are scaled from it to all of the time.
/// </summary>
internal static class CountedWindow
{
    public const double Start = 0.15;
    public const double End = 0.85;
}
