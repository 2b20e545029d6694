// Drives that come when their volume is served already without them: those that were later at a boot than they were waited for.
// They take their members' places again by themselves, as at a start, and get what they have missed.
//
// Only a drive that is known is taken: under the path that the record remembers of the member, with the superblock of that very
// member. Who is out for its errors, or because a user wanted it, stays out (the array knows why), and an empty drive is not
// somebody's because it hangs at the same cable.

using Microsoft.Extensions.Logging;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;
using Polyblk.Raid.Superblock;

namespace Polyblk.Host.Daemon;

/// <summary>See the top of the file.</summary>
/// <param name="served">The volumes that are served now.</param>
/// <param name="store">Where it is remembered which drive is which member.</param>
/// <param name="look">How often it is looked.</param>
/// <param name="log">For what is done.</param>
internal sealed class ReturningMembers(
    Func<IReadOnlyList<VolumeServer>> served, VolumeStore store, TimeSpan look, ILogger log)
{
    private readonly HashSet<string> _told = [];

    /// <summary>Looks again and again.</summary>
    public async Task RunAsync(CancellationToken end)
    {
        try
        {
            while (true)
            {
                await Task.Delay(look, end).ConfigureAwait(false);
                foreach (VolumeServer server in served().Where(s => s.IsDegraded))
                {
                    await LookAsync(server, end).ConfigureAwait(false);
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The daemon ends.
        }
    }

    private async Task LookAsync(VolumeServer server, CancellationToken end)
    {
        LiveJson live = server.GetLive();
        try
        {
            if (live.Array is not { } array || store.TryGet(live.Volume) is not VolumeRecord record)
            {
                return;
            }

            foreach (MemberJson member in MemberMemory.Complete(array, record).Members)
            {
                if (member is { State: MemberJson.Missing, Reason: MemberJson.Absent, LastDrive: string path, Uuid: Guid uuid }
                    && File.Exists(path)
                    && await ArrayScanner.ReadAsync(path, _ => { }, end).ConfigureAwait(false) is AssemblyCandidate drive
                    && drive.Superblock.ArrayUuid == live.Uuid && drive.Superblock.MemberUuid == uuid
                    && drive.Superblock.Role == member.Role)
                {
                    string role = member.Role.ToString(System.Globalization.CultureInfo.InvariantCulture);
                    MemberChangeResult done = await server
                        .ChangeMembersAsync(new MemberChange(MemberChangeKind.Replace, role) { NewDrive = path }, end)
                        .ConfigureAwait(false);
                    log.LogInformation("{Drive} is back: {What}", path, done.Message);
                    _told.Remove(live.Volume);
                }
            }
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            // A drive that does not answer yet, a change that is under way: it is looked again, and said once.
            if (_told.Add(live.Volume))
            {
                log.LogWarning("A member of {Volume} is not taken back just now: {Reason}", live.Volume, Refusals.Of(e)?.Message ?? e.Message);
            }
        }
    }
}
