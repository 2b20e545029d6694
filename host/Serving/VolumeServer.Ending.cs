// How a volume that is served ends: by a command, which may be refused; by a signal, which is not; and without what a drive that
// hangs does not answer.

using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Polyblk.Core.Interop;
using Polyblk.Frontends;
using Polyblk.Host.Model;

namespace Polyblk.Host.Serving;

public sealed partial class VolumeServer
{
    /// <summary>
    /// Stops every export. With <see cref="StopMode.IfIdle"/> it is all or nothing: when one refuses, those that were stopped
    /// before it are made again, and the refusal goes to the caller. Where a drive hangs, it ends without the requests that are
    /// there (<see cref="Unfinished"/>).
    /// </summary>
    /// <exception cref="RefusalException">One of them is in use, or a change is under way that does not end.</exception>
    public async Task StopAsync(StopMode mode, CancellationToken cancellation)
    {
        if (!await _changing.WaitAsync(_options.Patience, cancellation).ConfigureAwait(false))
        {
            throw RefusalException.Refused(
                $"A change of volume '{_record.Name}' is under way and does not end.",
                "Try again. 'polyblk volume show' says whether a drive does not answer.");
        }

        try
        {
            if (mode == StopMode.IfIdle)
            {
                RefuseWhilePaused("be stopped without --force");
                RefuseWhileConnected(_exports);
            }

            // Who waits for a drained export would wait for its end, too.
            await ResumeAsync(CancellationToken.None).ConfigureAwait(false);
            var stopped = new List<ServedExport>();
            foreach (ServedExport served in _exports.Where(e => e.IsServing))
            {
                try
                {
                    served.MarkStopped();
                    await PatientlyAsync(served, served.Export.StopAsync(mode, cancellation)).ConfigureAwait(false);
                    stopped.Add(served);
                }
                catch (HangingDriveException e)
                {
                    // Nothing can be made again over such a drive: the stop goes on.
                    Abandon(served, e);
                }
                catch (Exception e)
                {
                    served.Replace(served.Export);
                    await RestoreAsync(stopped).ConfigureAwait(false);
                    if (e is FrontendException)
                    {
                        throw new RefusalException(RefusalKind.Refused, e.Message, e);
                    }

                    throw;
                }
            }

            _ended.TrySetResult();
        }
        finally
        {
            _changing.Release();
        }
    }

    /// <summary>
    /// A consumer that is connected to a socket would lose its disk: a virtual machine waits for a successor that nobody
    /// announced, a client gets errors. All are looked at before the first is stopped.
    /// </summary>
    private void RefuseWhileConnected(IEnumerable<ServedExport> exports)
    {
        var users = new List<string>();
        foreach (ServedExport served in exports.Where(e => e.IsServing && e.Export.Endpoint.Kind == EndpointKind.UnixSocket))
        {
            int sessions = served.Export.GetStatistics().Sessions;
            if (sessions > 0)
            {
                IReadOnlyList<string> peers = UnixPeers.Of(served.Export.Endpoint.Path);
                string who = peers.Count > 0 ? Printable.Line(string.Join(", ", peers.Distinct())) : $"{sessions} session(s)";
                users.Add($"{served.Export.Id} by {who}");
            }
        }

        if (users.Count > 0)
        {
            throw RefusalException.Refused(
                $"Volume '{_record.Name}' is in use: {string.Join("; ", users)}.",
                "Detach the disk there or end that process first; --force stops all the same.");
        }
    }

    /// <summary>
    /// The clean end on a signal: exports that are idle stop; one that is in use leaves its state to a successor, so that its
    /// consumers wait for the next <c>serve</c> instead of failing.
    /// </summary>
    /// <returns>What the user should know, one sentence for each export that was handed over.</returns>
    public async Task<IReadOnlyList<string>> ShutDownAsync()
    {
        var notes = new List<string>();

        // A change that hangs, as its drive does, must not hold up the end of the process.
        bool isAlone = await _changing.WaitAsync(_options.Patience).ConfigureAwait(false);
        try
        {
            await ResumeAsync(CancellationToken.None).ConfigureAwait(false);
            foreach (ServedExport served in _exports.Where(e => e.IsServing))
            {
                served.MarkStopped();
                await EndOneAsync(served, async () =>
                {
                    try
                    {
                        await served.Export.StopAsync(StopMode.IfIdle, CancellationToken.None).ConfigureAwait(false);
                    }
                    catch (FrontendException e)
                    {
                        notes.Add($"{e.Message} Who uses it waits until the volume is served again by the same command; an unprivileged ublk device cannot wait, its requests fail.");
                        await served.Export.StopAsync(StopMode.HandOver, CancellationToken.None).ConfigureAwait(false);
                    }
                }).ConfigureAwait(false);
            }

            return notes;
        }
        finally
        {
            if (isAlone)
            {
                _changing.Release();
            }
        }
    }

    /// <summary>
    /// The end for the sake of a successor in another process: consumers do not notice, where the kind of export allows that, and
    /// wait for the successor elsewhere.
    /// </summary>
    /// <param name="luggage">Takes what the exports hand over.</param>
    /// <exception cref="RefusalException">It has just ended, or a change of it does not end; nothing has been
    /// stopped.</exception>
    internal async Task HandOverAsync(Luggage luggage)
    {
        if (!await _changing.WaitAsync(_options.Patience).ConfigureAwait(false))
        {
            throw RefusalException.Refused("A change of it does not end.");
        }

        if (_ended.Task.IsCompleted)
        {
            _changing.Release();
            throw RefusalException.Refused("It is not served any more.");
        }

        // Not released any more: whatever wants to change the volume waits until it gives up, and finds the successor.
        ServedExport[] serving = [.. _exports.Where(e => e.IsServing)];
        Array.ForEach(serving, e => e.MarkStopped());
        await Task.WhenAll(serving.Select(served => EndOneAsync(served, () => HandOverAsync(served.Export, luggage)))).ConfigureAwait(false);
    }

    private static async Task HandOverAsync(IExport export, Luggage luggage)
    {
        if (export is IMovableExport movable)
        {
            luggage.Add(movable.Id, await movable.HandOverAsync().ConfigureAwait(false));
        }
        else
        {
            await export.StopAsync(StopMode.HandOver, CancellationToken.None).ConfigureAwait(false);
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_pause is Pause pause)
        {
            _pause = null;
            await pause.End.CancelAsync().ConfigureAwait(false);
        }

        foreach (ServedExport served in _exports)
        {
            if (served.IsServing)
            {
                served.MarkStopped();
            }

            // No forced stop: after a start that failed, a device that was taken over may still be mounted. Disposing an export
            // leaves what is in use to a successor.
            if (!served.IsAbandoned)
            {
                await EndOneAsync(served, () => served.Export.DisposeAsync().AsTask()).ConfigureAwait(false);
            }
        }

        if (_unfinished is not null)
        {
            // Its queues have requests that do not come back: nothing below can be closed, and all goes with the process.
            return;
        }

        if (_volume is not null)
        {
            await _volume.DisposeAsync().ConfigureAwait(false);
        }

        if (_ownsReactors)
        {
            _reactors.Dispose();
        }

        _sessions.Dispose();
        _changing.Dispose();
    }

    /// <summary>
    /// Ends an export. One that fails to end must not keep the others from ending, nor the array from being marked clean if it
    /// can be.
    /// </summary>
    private async Task EndOneAsync(ServedExport served, Func<Task> end)
    {
        try
        {
            await PatientlyAsync(served, end()).ConfigureAwait(false);
        }
        catch (HangingDriveException e)
        {
            Abandon(served, e);
        }
#pragma warning disable CA1031 // Whatever it is: it is logged, the export counts as failed, and the rest is taken down.
        catch (Exception e)
#pragma warning restore CA1031
        {
            EndedCleanly = false;
            served.MarkFailed(e.Message);
            _log.LogError(e, "{Export} could not be ended", served.Export.Id);
        }
    }

    /// <summary>Gives up the end of an export that waits for a drive which does not answer.</summary>
    private void Abandon(ServedExport served, HangingDriveException e)
    {
        EndedCleanly = false;
        served.IsAbandoned = true;
        served.MarkFailed(e.Message);
        _unfinished = e.Drives;
        _log.LogError("{Export} is ended without what its drives did not answer: {Reason}", served.Export.Id, e.Message);
    }

    /// <summary>Waits for the end of an export; not for ever where a drive holds its requests and does not answer.</summary>
    /// <exception cref="HangingDriveException">One does.</exception>
    private async Task PatientlyAsync(ServedExport served, Task ending)
    {
        long started = Stopwatch.GetTimestamp();
        long lastAnswer = started;
        long answers = -1;
        while (!ending.IsCompleted)
        {
            await Task.WhenAny(ending, Task.Delay(_options.Patience / LooksOfPatience)).ConfigureAwait(false);
            ExportStatistics now = served.Export.GetStatistics();
            long sum = now.Reads + now.Writes + now.Flushes + now.Discards + now.Errors - now.InFlight;
            lastAnswer = sum == answers ? lastAnswer : Stopwatch.GetTimestamp();
            answers = sum;
            if (!ending.IsCompleted && Stopwatch.GetElapsedTime(started) > _options.Patience
                && WhatHangs(now, Stopwatch.GetElapsedTime(lastAnswer)) is { Count: > 0 } hanging)
            {
                throw new HangingDriveException(hanging);
            }
        }

        await ending.ConfigureAwait(false);
    }

    /// <summary>
    /// Drives that do not answer. An array knows its members' requests; one drive alone counts as hanging where requests are in
    /// flight and none was answered for as long as the end waits.
    /// </summary>
    private IReadOnlyList<UnfinishedJson> WhatHangs(ExportStatistics now, TimeSpan silence) =>
        _volume?.GetHanging()
        ?? (_volume is not null && now.InFlight > 0 && silence > _options.Patience
            ? [new UnfinishedJson(null, _volume.Device.Name, (int)now.InFlight, (int)silence.TotalSeconds)]
            : []);
}

/// <summary>The end waits for drives that do not answer.</summary>
public sealed class HangingDriveException(IReadOnlyList<UnfinishedJson> drives)
    : Exception($"A drive holds requests and does not answer ({string.Join("; ", drives)}): the volume ends without them, and is not marked clean.")
{
    /// <summary>Which, and what they hold.</summary>
    public IReadOnlyList<UnfinishedJson> Drives => drives;
}
