// What a message must look like before anything of it is believed: the size of its payload and the number of its descriptors.
//
// Sizes are the specification's, widened where a known front-end sends more (an inflight description with or without its padding;
// a memory table with room for all regions). One table, so that no handler can forget a check.

using Polyblk.Virtio.VhostUser;
using static Polyblk.Virtio.VhostUser.VhostUserRequest;

namespace Polyblk.Frontends.VhostUser;

/// <summary>Limits of one kind of message.</summary>
/// <param name="MinBytes">Least payload in bytes.</param>
/// <param name="MaxBytes">Most payload in bytes.</param>
/// <param name="MaxFds">Most descriptors; how many are needed is the handler's business.</param>
/// <param name="Needs">The protocol feature that must be negotiated, or none.</param>
/// <param name="HasReply">Whether the message has a reply of its own, so that need_reply changes nothing.</param>
internal readonly record struct MessageRule(
    int MinBytes, int MaxBytes, int MaxFds = 0, VhostUserProtocolFeatures Needs = VhostUserProtocolFeatures.None, bool HasReply = false);

/// <summary>The table of rules.</summary>
internal static class MessageRules
{
    private const int U64 = 8;
    private const int State = 8;
    private const int ConfigHead = 12;

    private static readonly Dictionary<VhostUserRequest, MessageRule> Rules = new()
    {
        [GET_FEATURES] = new(0, 0, HasReply: true),
        [SET_FEATURES] = new(U64, U64),
        [SET_OWNER] = new(0, 0),
        [RESET_OWNER] = new(0, 0),
        [SET_MEM_TABLE] = new(8, 8 + (32 * VhostUserAbi.MaxTableRegions), VhostUserAbi.MaxTableRegions),
        [SET_LOG_BASE] = new(16, 16, 1, VhostUserProtocolFeatures.LOG_SHMFD, HasReply: true),
        [SET_LOG_FD] = new(0, U64, 1),
        [SET_VRING_NUM] = new(State, State),
        [SET_VRING_ADDR] = new(40, 40),
        [SET_VRING_BASE] = new(State, State),
        [GET_VRING_BASE] = new(State, State, HasReply: true),
        [SET_VRING_KICK] = new(U64, U64, 1),
        [SET_VRING_CALL] = new(U64, U64, 1),
        [SET_VRING_ERR] = new(U64, U64, 1),
        [GET_PROTOCOL_FEATURES] = new(0, 0, HasReply: true),
        [SET_PROTOCOL_FEATURES] = new(U64, U64),
        [GET_QUEUE_NUM] = new(0, 0, HasReply: true),
        [SET_VRING_ENABLE] = new(State, State),
        [SET_BACKEND_REQ_FD] = new(0, U64, 1, VhostUserProtocolFeatures.BACKEND_REQ),
        [GET_CONFIG] = new(ConfigHead, ConfigHead + VhostUserAbi.MaxConfigBytes, HasReply: true),
        [SET_CONFIG] = new(ConfigHead, ConfigHead + VhostUserAbi.MaxConfigBytes),
        [GET_INFLIGHT_FD] = new(20, 24, 0, VhostUserProtocolFeatures.INFLIGHT_SHMFD, HasReply: true),
        [SET_INFLIGHT_FD] = new(20, 24, 1, VhostUserProtocolFeatures.INFLIGHT_SHMFD),
        [RESET_DEVICE] = new(0, 0, 0, VhostUserProtocolFeatures.RESET_DEVICE),
        [GET_MAX_MEM_SLOTS] = new(0, 0, 0, VhostUserProtocolFeatures.CONFIGURE_MEM_SLOTS, HasReply: true),
        [ADD_MEM_REG] = new(40, 40, 1, VhostUserProtocolFeatures.CONFIGURE_MEM_SLOTS),
        [REM_MEM_REG] = new(40, 40, 1, VhostUserProtocolFeatures.CONFIGURE_MEM_SLOTS),
        [SET_STATUS] = new(U64, U64, 0, VhostUserProtocolFeatures.STATUS),
        [GET_STATUS] = new(0, 0, 0, VhostUserProtocolFeatures.STATUS, HasReply: true),
    };

    /// <summary>All messages that are understood.</summary>
    public static IEnumerable<VhostUserRequest> Known => Rules.Keys;

    /// <summary>Checks a message against the table.</summary>
    /// <exception cref="ProtocolException">It breaks a rule.</exception>
    public static MessageRule Check(VhostUserHeader header, int fds, VhostUserProtocolFeatures negotiated)
    {
        var request = (VhostUserRequest)header.request;
        if ((header.flags & VhostUserAbi.VERSION_MASK) != VhostUserAbi.VERSION)
        {
            throw new ProtocolException($"message {header.request} has version {header.flags & VhostUserAbi.VERSION_MASK}, not 1");
        }

        if ((header.flags & VhostUserAbi.REPLY) != 0)
        {
            throw new ProtocolException($"message {request} is marked as a reply");
        }

        if (!Rules.TryGetValue(request, out MessageRule rule))
        {
            throw new ProtocolException($"message {header.request} is unknown here");
        }

        if ((negotiated & rule.Needs) != rule.Needs)
        {
            throw new ProtocolException($"message {request} needs the protocol feature {rule.Needs}, which was not negotiated");
        }

        if (header.size < rule.MinBytes || header.size > rule.MaxBytes)
        {
            throw new ProtocolException($"message {request} has a payload of {header.size} bytes; {rule.MinBytes} to {rule.MaxBytes} are right");
        }

        if (fds > rule.MaxFds)
        {
            throw new ProtocolException($"message {request} carries {fds} descriptors; at most {rule.MaxFds} are right");
        }

        return rule;
    }
}

/// <summary>
/// The front-end broke the protocol, or asked for something after whose failure both sides would disagree: its session ends.
/// </summary>
internal sealed class ProtocolException(string message) : Exception(message);

/// <summary>
/// A well-formed request that cannot be met. With REPLY_ACK the front-end is told and the session goes on; otherwise the session
/// ends where
/// <paramref name="fatal"/> says that the front-end would be in the wrong about its state.
/// </summary>
internal sealed class RefusedException(string message, bool fatal) : Exception(message)
{
    /// <summary>Whether a front-end that cannot be told must be cut off.</summary>
    public bool IsFatal => fatal;
}
