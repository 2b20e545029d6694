namespace Polyblk.Compare.Restart;

/// <summary>
/// How long the parts of a restart test wait, each longer than those within it: a shorter one outside would hide what the inner
/// one says. A busy emulated machine needs half a minute to serve again.
/// </summary>
internal static class RestartPatience
{
    private static readonly TimeSpan s_step = TimeSpan.FromSeconds(30);

    /// <summary>For requests in flight when the load ends.</summary>
    public static TimeSpan Drain => s_step;

    /// <summary>For a consumer whose target is away.</summary>
    public static TimeSpan Consumer => Drain + s_step;

    /// <summary>For a target that answers nothing after its restart, and for a load that does not end.</summary>
    public static TimeSpan Whole => Consumer + s_step;
}
