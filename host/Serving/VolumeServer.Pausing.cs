// A volume whose consumers wait (polyblk volume pause): nothing of theirs is in flight, and what they wrote is flushed. It goes on
// by itself when its time is over, so that nobody who forgets it keeps a virtual machine waiting for ever.

using Microsoft.Extensions.Logging;
using Polyblk.Core.Block;
using Polyblk.Host.Model;

namespace Polyblk.Host.Serving;

public sealed partial class VolumeServer
{
    private CancellationTokenSource? _pause;    // ends the wait for the end of the pause; under _changing

    /// <summary>Until when its consumers wait; null while they do not.</summary>
    public DateTimeOffset? PausedUntil { get; private set; }

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
            using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
            patience.CancelAfter(_options.Patience);
            try
            {
                PausedUntil = DateTimeOffset.UtcNow + time;
                await Task.WhenAll(Serving().Select(e => e.Export.DrainAsync(patience.Token))).WaitAsync(patience.Token).ConfigureAwait(false);
                if (!_options.Start.ReadOnly)
                {
                    await BlockIo.FlushAsync(_volume!.Device, _reactors.Reactors[0]).WaitAsync(patience.Token).ConfigureAwait(false);
                }
            }
            catch (Exception e)
            {
                await ResumeAllAsync().ConfigureAwait(false);
                throw e is OperationCanceledException && !cancellation.IsCancellationRequested
                    ? RefusalException.Refused(
                        $"Volume '{_record.Name}' has requests that were not answered within {_options.Patience.TotalSeconds} s, and goes on.",
                        "'polyblk volume show' says whether a drive does not answer.")
                    : e is BlockIoException ? RefusalException.Refused($"Volume '{_record.Name}' cannot be flushed, and goes on: {e.Message}") : e;
            }

            _pause = new CancellationTokenSource();
            _ = ResumeLaterAsync(time, _pause);
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
        await _changing.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            await EndPauseAsync().ConfigureAwait(false);
        }
        finally
        {
            _changing.Release();
        }
    }

    /// <summary>The longest pause.</summary>
    public static TimeSpan MostPause { get; } = TimeSpan.FromHours(1);

    private IEnumerable<ServedExport> Serving() => _exports.Where(e => e.IsServing);

    private void RefuseWhilePaused(string what)
    {
        if (PausedUntil is DateTimeOffset until)
        {
            throw RefusalException.Refused(
                $"Volume '{_record.Name}' is paused until {until.LocalDateTime:HH:mm:ss}, and cannot {what}.",
                $"End the pause first: polyblk volume resume {_record.Name}");
        }
    }

    private async Task EndPauseAsync()
    {
        if (_pause is not null)
        {
            await _pause.CancelAsync().ConfigureAwait(false);
            _pause = null;
            await ResumeAllAsync().ConfigureAwait(false);
            _log.LogWarning("{Volume} goes on", _record.Name);
        }
    }

    private async Task ResumeAllAsync()
    {
        PausedUntil = null;
        await Task.WhenAll(Serving().Select(e => e.Export.ResumeAsync(CancellationToken.None))).ConfigureAwait(false);
    }

    private async Task ResumeLaterAsync(TimeSpan time, CancellationTokenSource pause)
    {
        await Task.Delay(time, pause.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (pause.IsCancellationRequested)
        {
            return;
        }

        try
        {
            await _changing.WaitAsync().ConfigureAwait(false);
        }
        catch (ObjectDisposedException)
        {
            return; // It has ended meanwhile.
        }

        try
        {
            if (_pause == pause)
            {
                await EndPauseAsync().ConfigureAwait(false);
            }
        }
        finally
        {
            _changing.Release();
        }
    }
}
