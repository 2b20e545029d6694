// A volume whose consumers wait (polyblk volume pause): nothing of theirs is in flight, and what they wrote is flushed. It goes
// on by itself when its time is over, so that nobody who forgets it keeps a virtual machine waiting for ever.
//
// The pause has a lock of its own: it ends also while a change of the volume waits for a drive that does not answer.

using System.Globalization;
using Microsoft.Extensions.Logging;
using Polyblk.Core.Block;
using Polyblk.Frontends;

namespace Polyblk.Host.Serving;

public sealed partial class VolumeServer
{
    /// <summary>An export that does not resume in that time is left to itself.</summary>
    private static readonly TimeSpan s_resumeLimit = TimeSpan.FromSeconds(5);

    private readonly SemaphoreSlim _pausing = new(1);
    private volatile Pause? _pause;

    /// <summary>The longest pause.</summary>
    public static TimeSpan MostPause { get; } = TimeSpan.FromHours(1);

    /// <summary>Until when its consumers wait; null while they do not. Any thread.</summary>
    public DateTimeOffset? PausedUntil => _pause?.Until;

    /// <summary>Has consumers wait: returns when nothing of theirs is in flight, and what they wrote is on the drives.</summary>
    /// <param name="time">After which it goes on by itself.</param>
    /// <param name="cancellation">Gives up; it goes on then.</param>
    /// <exception cref="RefusalException">It is not possible; it goes on.</exception>
    public async Task PauseAsync(TimeSpan time, CancellationToken cancellation)
    {
        if (time <= TimeSpan.Zero || time > MostPause)
        {
            throw RefusalException.Invalid($"A pause is from 1 to {MostPause.TotalSeconds} seconds long.");
        }

        await _changing.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            RefuseWhilePaused("be paused");
            RefuseTooLong(time);
            await _pausing.WaitAsync(cancellation).ConfigureAwait(false);
            try
            {
                await DrainAsync(cancellation).ConfigureAwait(false);
                var pause = new Pause(DateTimeOffset.UtcNow + time);
                _pause = pause;
                _ = EndLaterAsync(pause, time);
            }
            finally
            {
                _pausing.Release();
            }

            _log.LogWarning("{Volume} is paused for {Seconds} s", _record.Name, time.TotalSeconds);
        }
        finally
        {
            _changing.Release();
        }
    }

    /// <summary>Goes on after <see cref="PauseAsync"/>; does nothing where it is not paused.</summary>
    public async Task ResumeAsync(CancellationToken cancellation)
    {
        await _pausing.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            if (_pause is Pause pause)
            {
                _pause = null;
                await pause.End.CancelAsync().ConfigureAwait(false);
                await ResumeAllAsync().ConfigureAwait(false);
                _log.LogWarning("{Volume} goes on", _record.Name);
            }
        }
        finally
        {
            _pausing.Release();
        }
    }

    private async Task DrainAsync(CancellationToken cancellation)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        patience.CancelAfter(_options.Patience);
        try
        {
            await Task.WhenAll(_exports.Where(e => e.IsServing).Select(e => e.Export.DrainAsync(patience.Token)))
                .WaitAsync(patience.Token).ConfigureAwait(false);
            if (!_options.Start.ReadOnly)
            {
                await BlockIo.FlushAsync(_volume!.Device, _reactors.Reactors[0]).WaitAsync(patience.Token).ConfigureAwait(false);
            }
        }
        catch (Exception e)
        {
            await ResumeAllAsync().ConfigureAwait(false);
            throw e switch
            {
                OperationCanceledException when !cancellation.IsCancellationRequested => RefusalException.Refused(
                    $"Volume '{_record.Name}' has requests that were not answered within {_options.Patience.TotalSeconds} s, and goes on.",
                    "'polyblk volume show' says whether a drive does not answer."),
                BlockIoException =>
                    RefusalException.Refused($"Volume '{_record.Name}' cannot be flushed, and goes on: {e.Message}"),
                _ => e,
            };
        }
    }

    private void RefuseTooLong(TimeSpan time)
    {
        foreach (ServedExport served in _exports.Where(e => e.IsServing && e.Export.LongestPause < time))
        {
            throw RefusalException.Refused(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{served.Export.Id} cannot wait longer than {served.Export.LongestPause!.Value.TotalSeconds} s: the kernel would end this process."),
                "Pause it for a shorter time (--for), or remove the export first.");
        }
    }

    private void RefuseWhilePaused(string what)
    {
        if (PausedUntil is DateTimeOffset until)
        {
            throw RefusalException.Refused(
                $"Volume '{_record.Name}' is paused until {until.LocalDateTime:HH:mm:ss}, and cannot {what}.",
                $"End the pause first: polyblk volume resume {_record.Name}");
        }
    }

    /// <summary>What does not go on is said, and keeps no other from going on.</summary>
    private Task ResumeAllAsync() => Task.WhenAll(_exports.Where(e => e.IsServing).Select(ResumeOneAsync));

    private async Task ResumeOneAsync(ServedExport served)
    {
        try
        {
            await served.Export.ResumeAsync(CancellationToken.None).WaitAsync(s_resumeLimit).ConfigureAwait(false);
        }
#pragma warning disable CA1031 // Whatever it is, the others go on.
        catch (Exception e)
#pragma warning restore CA1031
        {
            _log.LogError("{Export} does not go on after a pause: {Reason}", served.Export.Id, e.Message);
        }
    }

    private async Task EndLaterAsync(Pause pause, TimeSpan time)
    {
        await Task.Delay(time, pause.End.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (_pause == pause)
        {
            await ResumeAsync(CancellationToken.None).ConfigureAwait(false);
        }
    }

    /// <summary>A pause that is under way.</summary>
    /// <param name="Until">When it ends by itself.</param>
    private sealed record Pause(DateTimeOffset Until)
    {
        /// <summary>Cancelled when it ends before.</summary>
        public CancellationTokenSource End { get; } = new();
    }
}
