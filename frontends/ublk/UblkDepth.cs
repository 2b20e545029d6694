namespace Polyblk.Frontends.Ublk;

/// <summary>How many tags a queue has, and how many of them may hold requests at once.</summary>
/// <remarks>
/// Before QUIESCE_DEV came (Linux 6.16) the driver noticed the death of a server by the commands that wait for requests: each
/// queue was given back when one of its commands was cancelled. A queue whose tags all held requests at that moment had no such
/// command. Its requests were never given back, and the device, with all processes that used it, stayed stuck until the next
/// boot. So on such kernels a queue gets one tag more than the block layer may use, whose command always waits.
/// </remarks>
/// <param name="Tags">Tags of a queue: its depth for the driver.</param>
/// <param name="Requests">Requests in flight that are allowed.</param>
internal readonly record struct UblkDepth(int Tags, int Requests)
{
    /// <summary>The block layer's own lower limit of requests in a queue.</summary>
    private const int MinRequests = 4;

    /// <summary>Whether a tag must never be used.</summary>
    public bool KeepsTagIdle => Requests < Tags;

    /// <summary>The depth that an export's options stand for.</summary>
    /// <param name="options">The options.</param>
    /// <param name="features">What the driver has, or an existing device.</param>
    public static UblkDepth For(UblkSpec options, UblkFeatures features)
    {
        if (options.Unprivileged || (features & UblkFeatures.Quiesce) != 0)
        {
            return new UblkDepth(options.Depth, options.Depth);
        }

        int tags = Math.Min(Math.Max(options.Depth, MinRequests) + 1, UblkAbi.UBLK_MAX_QUEUE_DEPTH);
        return new UblkDepth(tags, tags - 1);
    }
}
