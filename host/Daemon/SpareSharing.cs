// Spares that volumes share: a volume that lacks a member and has no spare gets one of another volume of its spare group (volume
// set --spare-group), as md's arrays of one spare-group do.
//
// Only whole volumes give. The drive is let go there and becomes a spare here, whose array takes it by itself; one that is not
// taken (too small) goes back, and is not offered again. It is not forced upon anybody: what was let go holds nothing, and a
// drive that holds something is another one under its name. Should the daemon end in between, the drive belongs to neither: the log
// has said what was about to happen, and 'volume add-spare' brings it back.

using Microsoft.Extensions.Logging;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Host.Daemon;

/// <summary>See the top of the file.</summary>
/// <param name="served">The volumes that are served now.</param>
/// <param name="tryBegin">Calls what it is given, unless the volumes end or go over to a successor; says whether it did.</param>
/// <param name="store">Where their groups are recorded.</param>
/// <param name="log">For what is done.</param>
internal sealed class SpareSharing(
    Func<IReadOnlyList<VolumeServer>> served, Func<Action, bool> tryBegin, VolumeStore store, ILogger log)
{
    /// <summary>Without an event it is looked so often: a volume may have got a group, a spare, or a start.</summary>
    private static readonly TimeSpan s_look = TimeSpan.FromMinutes(1);

    private readonly HashSet<(string Volume, string Drive)> _refused = [];
    private volatile bool _isMoving;

    /// <summary>Whether a drive belongs to neither of two volumes just now.</summary>
    public bool IsMoving => _isMoving;

    /// <summary>Looks whenever something has happened.</summary>
    /// <param name="events">What happens.</param>
    /// <param name="end">Ends it.</param>
    public async Task RunAsync(EventLog events, CancellationToken end)
    {
        try
        {
            while (true)
            {
                Task news = events.News;
                await LookAsync().ConfigureAwait(false);
                await EventLog.WaitForNewsAsync(news, s_look, end).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException)
        {
            // The daemon ends.
        }
    }

    /// <summary>Gives each volume that needs one a spare of another. What goes wrong is said, and looked at again.</summary>
    private async Task LookAsync()
    {
        try
        {
            IReadOnlyList<VolumeServer> all = served();
            if (!all.Any(server => server.IsDegraded))
            {
                return;
            }

            Sharer[] volumes = [.. all.Select(Look).OfType<Sharer>()];
            foreach (Sharer needy in volumes.Where(v => v.Array is { Health: Health.Degraded, Spares.Count: 0, Reshape: null }))
            {
                await GiveOneAsync(volumes, needy).ConfigureAwait(false);
            }
        }
#pragma warning disable CA1031 // A record that cannot be read, a volume that is just ending: it is looked again.
        catch (Exception e)
#pragma warning restore CA1031
        {
            log.LogWarning("Spares are not shared just now: {Reason}", Refusals.Of(e)?.Message ?? e.Message);
        }
    }

    private Sharer? Look(VolumeServer server)
    {
        LiveJson live = server.GetLive();
        return live.Array is ArrayJson array && store.TryGet(live.Volume)?.SpareGroup is string group
            ? new Sharer(server, live.Volume, group, array)
            : null;
    }

    private async Task GiveOneAsync(Sharer[] volumes, Sharer needy)
    {
        (Sharer Giver, string Drive)[] offers =
        [
            .. from giver in volumes
               where giver.Group == needy.Group && giver.Array.Health == Health.Optimal
               orderby giver.Array.Spares.Count descending
               from drive in giver.Array.Spares
               where !_refused.Contains((needy.Name, drive))
               select (giver, drive),
        ];
        foreach ((Sharer giver, string drive) in offers)
        {
            if (!tryBegin(() => _isMoving = true))
            {
                return;
            }

            try
            {
                // One that has gone over is enough, and where one could not be given the others would not be, either.
                if (await MoveAsync(giver, needy, drive).ConfigureAwait(false) != Outcome.WentBack)
                {
                    return;
                }
            }
            finally
            {
                _isMoving = false;
            }
        }
    }

    private async Task<Outcome> MoveAsync(Sharer giver, Sharer needy, string drive)
    {
        log.LogWarning("{Volume} lacks a member: it gets the spare {Drive} of {From}", needy.Name, drive, giver.Name);
        try
        {
            // Where the records cannot be written, now is the time to know it.
            store.RequireWritable(giver.Name);
            store.RequireWritable(needy.Name);
            await giver.Server.ChangeMembersAsync(new MemberChange(MemberChangeKind.Remove, drive), CancellationToken.None)
                .ConfigureAwait(false);
        }
#pragma warning disable CA1031 // Whatever it is, it is said, and nothing else is asked of the group.
        catch (Exception e)
#pragma warning restore CA1031
        {
            _refused.Add((needy.Name, drive));
            log.LogError("{From} does not give {Drive}: {Reason}", giver.Name, drive, e.Message);
            return Outcome.WasKept;
        }

        try
        {
            await needy.Server.ChangeMembersAsync(new MemberChange(MemberChangeKind.AddSpare, drive), CancellationToken.None)
                .ConfigureAwait(false);
            needy.Server.Events.Tell(
                new EventJson { Kind = EventKinds.SpareShared, Reason = $"{drive} was a spare of {giver.Name}" });
            return Outcome.WentOver;
        }
#pragma warning disable CA1031 // Whatever it is, the drive goes back.
        catch (Exception e)
#pragma warning restore CA1031
        {
            _refused.Add((needy.Name, drive));
            log.LogError(
                "{Volume} does not take {Drive}, which goes back to {From}: {Reason}", needy.Name, drive, giver.Name, e.Message);
            await GiveBackAsync(giver, drive).ConfigureAwait(false);
            return Outcome.WentBack;
        }
    }

    private async Task GiveBackAsync(Sharer giver, string drive)
    {
        try
        {
            await giver.Server.ChangeMembersAsync(new MemberChange(MemberChangeKind.AddSpare, drive), CancellationToken.None)
                .ConfigureAwait(false);
        }
#pragma warning disable CA1031 // Whatever it is, somebody has to be told.
        catch (Exception e)
#pragma warning restore CA1031
        {
            log.LogError("{Drive} belongs to no volume now: polyblk volume add-spare {From} {Drive} ({Reason})", drive,
                giver.Name, drive, e.Message);
        }
    }

    private enum Outcome
    {
        /// <summary>The drive is the other volume's.</summary>
        WentOver,

        /// <summary>It was not taken.</summary>
        WentBack,

        /// <summary>It was not given.</summary>
        WasKept,
    }

    /// <summary>A volume of a group.</summary>
    private sealed record Sharer(VolumeServer Server, string Name, string Group, ArrayJson Array);
}
