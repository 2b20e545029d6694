// Spares that volumes share: a volume that lacks a member and has no spare gets one of another volume of its spare group (volume
// set --spare-group), as md's arrays of one spare-group do.
//
// Only whole volumes give. The drive is let go there and becomes a spare here, whose array takes it by itself; one that is not
// taken (too small) goes back, and is not offered again. Should the daemon end in between, the drive belongs to neither: the log
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
/// <param name="store">Where their groups are recorded.</param>
/// <param name="log">For what is done.</param>
internal sealed class SpareSharing(Func<IReadOnlyList<VolumeServer>> served, VolumeStore store, ILogger log)
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

    /// <summary>Gives each volume that needs one a spare of another.</summary>
    private async Task LookAsync()
    {
        IReadOnlyList<VolumeServer> all = served();
        if (!all.Any(server => server.IsDegraded))
        {
            return;
        }

        var volumes = new List<(VolumeServer Server, string Name, string Group, ArrayJson Array)>();
        foreach (VolumeServer server in all)
        {
            LiveJson live = server.GetLive();
            if (live.Array is ArrayJson array && store.TryGet(live.Volume)?.SpareGroup is string group)
            {
                volumes.Add((server, live.Volume, group, array));
            }
        }

        foreach (var needy in volumes.Where(v => v.Array is { Health: Health.Degraded, Spares.Count: 0, Reshape: null }))
        {
            (VolumeServer Server, string Name, string Drive)[] offers =
            [
                .. from donor in volumes
                   where donor.Group == needy.Group && donor.Array.Health == Health.Optimal
                   orderby donor.Array.Spares.Count descending
                   from drive in donor.Array.Spares
                   where !_refused.Contains((needy.Name, drive))
                   select (donor.Server, donor.Name, drive),
            ];
            foreach ((VolumeServer giver, string from, string drive) in offers)
            {
                if (await TryMoveAsync(giver, from, needy.Server, needy.Name, drive).ConfigureAwait(false))
                {
                    // What is left is looked at with the news of this.
                    return;
                }
            }
        }
    }

    /// <returns>Whether it has gone over.</returns>
    private async Task<bool> TryMoveAsync(VolumeServer giver, string from, VolumeServer taker, string to, string drive)
    {
        var come = new MemberChange(MemberChangeKind.AddSpare, drive, Force: true);
        _isMoving = true;
        log.LogWarning("{Volume} lacks a member: it gets the spare {Drive} of {From}", to, drive, from);
        try
        {
            return await TryMoveAsync(giver, from, taker, to, come).ConfigureAwait(false);
        }
        finally
        {
            _isMoving = false;
        }
    }

    private async Task<bool> TryMoveAsync(VolumeServer giver, string from, VolumeServer taker, string to, MemberChange come)
    {
        string drive = come.Drive;
        try
        {
            await giver.ChangeMembersAsync(new MemberChange(MemberChangeKind.Remove, drive), CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception e) when (e is RefusalException or ObjectDisposedException)
        {
            log.LogWarning("{From} does not give {Drive}: {Reason}", from, drive, e.Message);
            return false;
        }

        try
        {
            await taker.ChangeMembersAsync(come, CancellationToken.None).ConfigureAwait(false);
            taker.Events.Tell(new EventJson { Kind = EventKinds.SpareShared, Reason = $"{drive} was a spare of {from}" });
            return true;
        }
        catch (Exception e) when (e is RefusalException or ObjectDisposedException)
        {
            _refused.Add((to, drive));
            log.LogError("{Volume} does not take {Drive}, which goes back to {From}: {Reason}", to, drive, from, e.Message);
            await GiveBackAsync(giver, from, come).ConfigureAwait(false);
            return false;
        }
    }

    private async Task GiveBackAsync(VolumeServer giver, string from, MemberChange come)
    {
        try
        {
            await giver.ChangeMembersAsync(come, CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception e) when (e is RefusalException or ObjectDisposedException)
        {
            log.LogError("{Drive} belongs to no volume now: polyblk volume add-spare {From} {Drive} ({Reason})", come.Drive, from, come.Drive, e.Message);
        }
    }
}
