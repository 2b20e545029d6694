// The ways of a queue to the members: opened, closed, and exchanged under requests in flight where a drive is replaced that works
// (Map/Replacement.cs). All on the reactor's thread, asked for by the control task.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Map;

namespace Polyblk.Raid.Engine;

internal abstract unsafe partial class RaidQueue
{
    /// <summary>
    /// What was sent before a replacement was over is answered: closes the queue of the drive with which nobody goes on.
    /// </summary>
    internal void CloseRetired(int role)
    {
        // Requests from before the replacement may be at the old drive still: that matters only where it goes.
        if (MemberQueues[role] is { Retired: { IsIdle: true } twin } port
            && (port.IsSettled || !ReferenceEquals(port.Queue, twin.New)))
        {
            port.Retired = null;
            twin.Dispose();
        }
    }

    /// <summary>A replacement of a role begins, ends, or is recorded.</summary>
    private void AdoptReplacement(int role, ArrayMap map)
    {
        if (MemberQueues[role] is not { } port)
        {
            // It was out when this queue was opened.
            return;
        }

        RaidMember member = map.Members[role];
        if (!ReferenceEquals(port.Member, member))
        {
            port.Move(member);
        }

        Replacement? replacement = map.ReplacementOf(role);
        if (replacement is not null && port.Queue is not TwinQueue)
        {
            port.Exchange(new TwinQueue(replacement, port.Queue, State, Reactor));
            MemberChanged(role);
        }
        else if (replacement is null && port.Queue is TwinQueue twin)
        {
            if (ReferenceEquals(member, twin.Replacement.New))
            {
                port.Exchange(twin.New);
            }
            else
            {
                port.Return(twin.Old);
            }

            port.Retired = twin;
            MemberChanged(role);
            twin.Retire();
        }
    }

    /// <summary>What waited for the outcome of a replacement is answered; the twin stays.</summary>
    internal void ResumeTwin(int role) => (MemberQueues[role]?.Queue as TwinQueue)?.Resume();

    private static MemberPort? OpenPort(ArrayMap map, int role, ArrayState state, Reactor reactor)
    {
        RaidMember member = map.Members[role];
        Replacement? replacement = map.ReplacementOf(role);
        if ((replacement?.Old.Way ?? member.Way) is not { } drive)
        {
            return null;
        }

        IBlockQueue queue = drive.OpenQueue(reactor);
        try
        {
            queue = replacement is null ? queue : new TwinQueue(replacement, queue, state, reactor);
        }
        catch
        {
            queue.Dispose();
            throw;
        }

        var port = new MemberPort(member, state, queue, reactor);
        member.Add(port);
        return port;
    }

    private static void ClosePort(MemberPort? port)
    {
        if (port is not null)
        {
            port.Member.Remove(port);
            port.Queue.Dispose();
            port.Left?.Dispose();
            port.Retired?.Dispose();
        }
    }
}
