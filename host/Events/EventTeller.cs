// Makes events of facts, writes each into the log as one line, and adds it to what is kept. The line and the event's message are
// one and the same sentence, and name a drive by all that leads to it.

using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;
using Polyblk.Core.Block;
using Polyblk.Core.Logging;
using Polyblk.Host.Model;
using Polyblk.Host.Volumes;
using Polyblk.Raid;

namespace Polyblk.Host.Events;

/// <summary>Tells what happens to a volume, or to the daemon. Any thread; waits for nothing but the log.</summary>
/// <param name="volume">The volume; null for the daemon.</param>
/// <param name="events">Where events go besides the log; null for nowhere.</param>
/// <param name="log">The log.</param>
public sealed class EventTeller(string? volume, EventLog? events, ILogger log)
{
    private readonly ConcurrentDictionary<string, DriveJson> _drives = new(StringComparer.Ordinal);

    /// <summary>Tells what an array tells.</summary>
    public void Tell(ArrayEvent e)
    {
        ArgumentNullException.ThrowIfNull(e);
        int? errno = e.Fault?.ErrorNumber ?? e.ErrorNumber;
        DriveJson? drive = IdentityOf(e.Drive);
        DriveJson? newDrive = IdentityOf(e.NewDrive);
        string[] known = [.. new[] { drive, newDrive }.OfType<DriveJson>().Select(d => (d.Path, About: d.Describe()))
            .Where(d => d.About.Length > 0).Select(d => $" [{d.Path}: {d.About}]")];
        Send(new EventJson
        {
            Kind = EventKinds.Of(e.Kind),
            Severity = e.Level switch
            {
                ArrayEventLevel.Information => EventSeverity.Info,
                ArrayEventLevel.Warning => EventSeverity.Warning,
                _ => EventSeverity.Error,
            },
            Message = e.Message + string.Concat(known),
            Member = e.Role,
            Drive = drive,
            NewDrive = newDrive,
            Cause = ArrayStatusJson.ReasonName(e.WhyOut),
            Operation = e.Fault?.Operation.Word(),
            OffsetBytes = e.Fault?.OffsetBytes ?? e.OffsetBytes,
            LengthBytes = e.Fault?.LengthBytes ?? e.LengthBytes,
            Errno = errno is int number ? Errno.NameOf(number) : null,
            Count = e.Count,
            Of = e.Of,
            FromLevel = e.FromLevel,
            ToLevel = e.ToLevel,
            Percent = e.Percent,
            Seconds = e.Seconds,
            Findings = ArrayStatusJson.Check(e.Scrub),
            MayHaveDamaged = e.MayHaveDamaged ? true : null,
            Reason = e.Reason is null ? null : LogText.Escape(e.Reason),
        });
    }

    /// <summary>Tells what the host does; the severity and the message are made of the rest.</summary>
    public void Tell(EventJson e) => Send(Complete(e));

    /// <summary>The same of what somebody else has logged.</summary>
    public void TellQuietly(EventJson e) => events?.Add(Complete(e) with { Volume = volume });

    /// <summary>
    /// Looks at drives, so that they can be named when they are gone: by a task of its own, for a drive may take its time to say
    /// who it is, or never do. What is told before that is done has its path alone.
    /// </summary>
    public void KnowSoon(IEnumerable<string> drives)
    {
        // Each is asked once: one that hangs costs one thread, and none of the pool.
        string[] unknown = [.. drives.Where(d => _drives.TryAdd(d, new DriveJson(d)))];
        if (unknown.Length != 0)
        {
            _ = Task.Factory.StartNew(
                () => Know(unknown), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        }
    }

    private void Know(string[] drives)
    {
        var identity = new DriveIdentity();
        foreach (string drive in drives)
        {
            try
            {
                _drives[drive] = identity.Of(drive);
            }
#pragma warning disable CA1031 // Whatever it is: the drive is served, and called by its path.
            catch (Exception e)
#pragma warning restore CA1031
            {
                log.LogWarning("It is not known what {Drive} is, beyond its path: {Reason}", drive, e.Message);
            }
        }
    }

    /// <summary>What is known of a drive; null for none.</summary>
    public DriveJson? IdentityOf(string? drive) =>
        drive is null ? null : _drives.GetValueOrDefault(drive) ?? new DriveJson(drive);

    /// <summary>An event of the host with its severity and message.</summary>
    internal static EventJson Complete(EventJson e) => e with
    {
        Time = DateTimeOffset.UtcNow,
        Severity = EventWords.SeverityOf(e),
        Message = LogText.Escape(EventWords.MessageOf(e)),
        Reason = e.Reason is null ? null : LogText.Escape(e.Reason),
    };

    private void Send(EventJson e)
    {
        e = e with { Time = DateTimeOffset.UtcNow, Volume = volume, Message = LogText.Escape(e.Message) };
        log.Log(
            e.Severity switch
            {
                EventSeverity.Info => LogLevel.Information,
                EventSeverity.Warning => LogLevel.Warning,
                _ => LogLevel.Error,
            },
            "{Event}",
            e.Message);
        events?.Add(e);
    }
}
