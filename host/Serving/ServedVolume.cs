// What users ask about a volume of the process that serves it, with what belongs to it besides: the same for commands and for the
// API.

using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Host.Serving;

/// <summary>See the top of the file.</summary>
public static class ServedVolume
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(50);

    /// <summary>Asks who serves it, and keeps on record what the record has of the answer.</summary>
    /// <returns>The answer, or null where nobody serves it.</returns>
    /// <exception cref="RefusalException">There is no such volume, or it is refused.</exception>
    public static async Task<ControlResponse?> AskAsync(
        StateDirectories directories, string name, ControlRequest request, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(request);
        var store = new VolumeStore(directories);
        string volume = store.Get(name).Name;
        ControlResponse? response = await ControlClient.AskAsync(directories, volume, request, cancellation)
            .ConfigureAwait(false);
        if (request.Command == "resize" && response?.Live is LiveJson live)
        {
            store.Change(volume, record => record with { SizeBytes = live.SizeBytes });
        }

        return response;
    }

    /// <summary>Has it served no more, and waits until it is free.</summary>
    /// <param name="directories">Where its record is.</param>
    /// <param name="name">Its name.</param>
    /// <param name="force">Also where a consumer loses its disk.</param>
    /// <param name="cancellation">Gives up waiting.</param>
    /// <returns>The volume; its message says what became of it.</returns>
    /// <exception cref="RefusalException">It cannot be stopped, or is not let go.</exception>
    public static async Task<VolumeJson> StopAsync(
        StateDirectories directories, string name, bool force, CancellationToken cancellation)
    {
        VolumeRecord record = new VolumeStore(directories).Get(name);
        VolumeJson stopped = VolumeView.Stopped(record);
        if (VolumeLock.Holder(directories, record.Name) is not int pid)
        {
            return stopped with { Message = $"Volume '{record.Name}' is not being served." };
        }

        var request = new ControlRequest { Command = "stop", Force = force };
        ControlResponse response =
            await ControlClient.AskAsync(directories, record.Name, request, cancellation).ConfigureAwait(false)
            ?? throw RefusalException.Refused(
                $"Process {pid} works on volume '{record.Name}' but does not answer: it is still starting, or hangs.",
                VolumeLock.IsDaemon(directories, record.Name, pid)
                    ? "It is the daemon, which serves others too: 'polyblk export list' says what it waits for. Try again."
                    : $"Try again, or end it: kill {pid}");
        await WaitUntilFreeAsync(directories, record.Name, pid, cancellation).ConfigureAwait(false);
        return response.Unfinished is { Count: > 0 } unfinished
            ? stopped with { Message = $"Volume '{record.Name}' is stopped, but not in order.", Unfinished = unfinished }
            : stopped with { Message = $"Volume '{record.Name}' is stopped." };
    }

    private static async Task WaitUntilFreeAsync(
        StateDirectories directories, string volume, int pid, CancellationToken cancellation)
    {
        DateTime deadline = DateTime.UtcNow + s_patience;
        while (VolumeLock.Holder(directories, volume) is not null)
        {
            if (DateTime.UtcNow > deadline)
            {
                throw VolumeLock.IsDaemon(directories, volume, pid)
                    ? RefusalException.Refused(
                        $"The exports of volume '{volume}' are stopped, but the daemon (process {pid}) does not let it go.",
                        "Its log says more. It can be used again when the daemon has ended, which serves others too.")
                    : RefusalException.Refused(
                        $"Process {pid} has stopped its exports but does not end.", $"Its log says more; kill {pid} ends it.");
            }

            await Task.Delay(s_look, cancellation).ConfigureAwait(false);
        }
    }
}
