using Microsoft.Extensions.Logging;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Frontends;

/// <summary>What is to be served, and how: the options that every frontend shares, and those of its own.</summary>
public sealed record ExportSpec
{
    /// <summary>
    /// Stable id of the export, for example <c>data/vhost-user/0</c>: the same command gives the same id after a restart.
    /// </summary>
    public required string Id { get; init; }

    /// <summary>The volume's name; fit for file and device names (letters, digits, '-', '_', '.').</summary>
    public required string VolumeName { get; init; }

    /// <summary>The volume's UUID.</summary>
    public Guid VolumeUuid { get; init; }

    /// <summary>The device to serve. The export opens queues on it and never disposes it.</summary>
    public required IBlockDevice Device { get; init; }

    /// <summary>Serial that the consumer sees: at most 20 bytes of ASCII (virtio-blk, GET_ID).</summary>
    public string Serial { get; init; } = string.Empty;

    /// <summary>Refuse writes.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>Number of queues, 1 to 256; null lets the frontend choose.</summary>
    public int? Queues { get; init; }

    /// <summary>Entries of a queue; a power of two for virtio; null lets the frontend choose.</summary>
    public int? QueueSize { get; init; }

    /// <summary>Path of the Unix socket, for frontends that have one; null puts it into the runtime directory.</summary>
    public string? SocketPath { get; init; }

    /// <summary>The users who may connect to its socket, by their numbers; null for whoever reaches it.</summary>
    public IReadOnlySet<uint>? AllowedUsers { get; init; }

    /// <summary>
    /// What a predecessor in another process handed over (<see cref="IMovableExport"/>), or null. An export that was made owns
    /// it; where none was made the caller does.
    /// </summary>
    public HandedOverExport? HandedOver { get; init; }

    /// <summary>Values of the frontend's own options (<see cref="IFrontend.Options"/>) by name.</summary>
    public IReadOnlyDictionary<string, string> Options { get; init; } = new Dictionary<string, string>();

    /// <summary>Why a user may not connect; null where it may.</summary>
    /// <param name="user">The user, as the kernel noted it (SO_PEERCRED).</param>
    public string? WhyNotLetIn(uint user) =>
        AllowedUsers is null || AllowedUsers.Contains(user) ? null : $"user {user} is not let in (--allow-user)";
}

/// <summary>What an export runs on.</summary>
/// <param name="Reactors">Where its queues run.</param>
/// <param name="RuntimeDirectory">For sockets and files that need not survive a reboot; exists.</param>
/// <param name="StateDirectory">For files that survive; exists.</param>
/// <param name="Logging">For control paths.</param>
public sealed record ExportContext(ReactorGroup Reactors, string RuntimeDirectory, string StateDirectory, ILoggerFactory Logging)
{
    /// <summary>The clock by which the export waits and gives up. What happens on a reactor goes by the reactor's own.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;

    /// <summary>
    /// Told of sessions that come and go, on any thread but a reactor's; it waits for nothing. Null where nobody wants to know.
    /// </summary>
    public Action<SessionChange>? OnSession { get; init; }
}

/// <summary>A session of an export has come or gone.</summary>
/// <param name="ExportId">The export.</param>
/// <param name="Session">Its name: that of the export, <c>#</c> and a number.</param>
/// <param name="Peer">Who is at the other end: <c>user 1000, process 4711</c>.</param>
/// <param name="WhyGone">Why it has gone; null for one that has come.</param>
public readonly record struct SessionChange(string ExportId, string Session, string Peer, string? WhyGone);

/// <summary>An option that a frontend adds to the command line.</summary>
/// <param name="Name">Without dashes: <c>attach</c> gives <c>--attach</c>.</param>
/// <param name="ValueHint">What the value looks like, or null for a switch.</param>
/// <param name="Description">One sentence, with the default.</param>
/// <param name="Choices">The values that are allowed; empty when any is.</param>
public sealed record FrontendOption(string Name, string? ValueHint, string Description, IReadOnlyList<string> Choices);
