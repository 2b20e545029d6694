// The size of a volume that is served: it changes on request, with its drive, or by itself when a reshape is over. Each export is
// told once.

using Microsoft.Extensions.Logging;
using Polyblk.Core.Block;
using Polyblk.Frontends;

namespace Polyblk.Host.Serving;

public sealed partial class VolumeServer
{
    private long _toldBytes;

    /// <summary>
    /// Takes the size that the volume's drive has now, where the volume is as large as its drive, and tells every consumer.
    /// </summary>
    /// <exception cref="RefusalException">The size is not possible, or a consumer could not be told.</exception>
    public Task FollowDriveAsync() => _volume!.HasSizeOfDrive ? ResizeAsync(null, mayShrink: false, CancellationToken.None) : Task.CompletedTask;

    /// <summary>Takes a new size (null: all that the drives give) and tells every consumer.</summary>
    /// <exception cref="RefusalException">The size is not possible, is smaller and must not be, or a consumer could not be
    /// told.</exception>
    public async Task ResizeAsync(long? sizeBytes, bool mayShrink, CancellationToken cancellation)
    {
        await _changing.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            if (sizeBytes < _volume!.Device.SizeBytes && !mayShrink)
            {
                throw RefusalException.Refused(
                    $"Volume '{_record.Name}' has {ByteSize.FormatRounded(_volume.Device.SizeBytes)}: less would cut off the end of what is on it.",
                    "Make the file system smaller first, then use --force.");
            }

            await _volume.ResizeAsync(sizeBytes, cancellation).ConfigureAwait(false);
            await TellSizeAsync(cancellation).ConfigureAwait(false);
        }
        finally
        {
            _changing.Release();
        }
    }

    /// <summary>Tells every consumer what size the volume has.</summary>
    /// <exception cref="RefusalException">One could not be told.</exception>
    private async Task TellSizeAsync(CancellationToken cancellation)
    {
        _toldBytes = _volume!.Device.SizeBytes;
        string size = ByteSize.FormatRounded(_toldBytes);
        _log.LogInformation("{Volume} has {Size} now", _record.Name, size);
        var untold = new List<string>();
        foreach (ServedExport served in _exports.Where(e => e.IsServing))
        {
            try
            {
                await served.Export.ResizeAsync(cancellation).ConfigureAwait(false);
            }
            catch (Exception e) when (e is FrontendException or IOException)
            {
                untold.Add($"{served.Export.Id} could not be told: {e.Message}");
            }
        }

        if (untold.Count > 0)
        {
            throw new RefusalException(RefusalKind.Failed, $"Volume '{_record.Name}' has {size} now, but {string.Join(' ', untold)}");
        }
    }

    /// <summary>
    /// The array has another size by itself (a reshape is over): consumers are told, once nothing else changes it.
    /// </summary>
    private void FollowArray()
    {
        if (_volume is { HasSizeOfDrive: false })
        {
            _ = Task.Run(FollowArrayAsync);
        }
    }

    private async Task FollowArrayAsync()
    {
        try
        {
            await _changing.WaitAsync().ConfigureAwait(false);
        }
        catch (ObjectDisposedException)
        {
            // It has ended meanwhile.
            return;
        }

        try
        {
            long size = _volume!.Device.SizeBytes;
            if (size != _toldBytes)
            {
                Store.Change(_record.Name, record => record with { SizeBytes = size });
                await TellSizeAsync(CancellationToken.None).ConfigureAwait(false);
            }
        }
#pragma warning disable CA1031 // Nobody waits for this: what goes wrong is said in the log, and the volume is served on.
        catch (Exception e)
#pragma warning restore CA1031
        {
            _log.LogWarning("{Problem}", Refusals.Of(e)?.Message ?? e.ToString());
        }
        finally
        {
            _changing.Release();
        }
    }
}
