using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Polyblk.Host.State;

namespace Polyblk.Host.Volumes;

/// <summary>Drives that are not there yet when a volume starts: at boot they may be late.</summary>
internal sealed class LateDrives(VolumeRecord record, VolumeStart start, ILogger log)
{
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(250);

    /// <summary>From the node of a drive to a drive that answers.</summary>
    private static readonly TimeSpan s_settle = TimeSpan.FromSeconds(5);

    private readonly long _began = Stopwatch.GetTimestamp();
    private string[] _missing = [.. DriveList.FindMissing(record.Drives)];
    private string[] _told = [];
    private long? _cameAt;

    /// <summary>
    /// Whether some are missing, or have only just come and may not answer yet, and there is time to wait for them.
    /// </summary>
    public bool AreWaitedFor =>
        (_missing.Length != 0 || (_cameAt is long came && Stopwatch.GetElapsedTime(came) < s_settle))
            && Stopwatch.GetElapsedTime(_began) < start.WaitForDrives;

    /// <summary>Says what is missing, where that is new, and looks again after a while.</summary>
    public async Task WaitAsync(CancellationToken cancellation)
    {
        if (!_missing.SequenceEqual(_told))
        {
            if (start.Waiting is null)
            {
                log.LogInformation(
                    "{Volume} waits up to {Seconds} s for {Drives}",
                    record.Name,
                    start.WaitForDrives.TotalSeconds,
                    string.Join(", ", _missing));
            }

            start.Waiting?.Invoke(_missing);
            _told = _missing;
        }

        await Task.Delay(s_look, cancellation).ConfigureAwait(false);
        _missing = [.. DriveList.FindMissing(record.Drives)];
        _cameAt = _missing.Length != 0 ? null : _cameAt ?? Stopwatch.GetTimestamp();
    }

    /// <summary>Nothing is waited for any more.</summary>
    public void End()
    {
        if (_told.Length != 0)
        {
            start.Waiting?.Invoke([]);
        }
    }
}
