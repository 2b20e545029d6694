// polyblk events: what has happened on this host, and what happens now.

using System.CommandLine;
using System.Globalization;
using Polyblk.Cli.Output;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.State;

namespace Polyblk.Cli.CommandLine;

/// <summary><c>polyblk events [VOLUME]</c>.</summary>
internal sealed class EventsCommand : ICliCommand
{
    private const int UsualLimit = 50;

    private readonly Argument<string?> _volume = new("VOLUME")
    {
        Description = "Only those of this volume. [default: all of this host]", Arity = ArgumentArity.ZeroOrOne,
    };

    private readonly Option<bool> _follow = new("--follow", "-f") { Description = "Go on with those that come, until Ctrl-C." };

    private readonly Option<EventStart?> _since = new("--since")
    {
        HelpName = "SEQ|TIME",
        Description = "Only those after this number, or from this time on: 2026-11-30T12:00, which is UTC, or so long ago: "
            + "12h, 7d.",
        CustomParser = result =>
        {
            if (EventStart.Parse(result.Tokens[0].Value, DateTimeOffset.UtcNow) is EventStart start)
            {
                return start;
            }

            result.AddError(
                $"'{result.Tokens[0].Value}' is neither the number of an event nor a time such as 2026-11-30T12:00, 12h or 7d.");
            return null;
        },
    };

    private readonly Option<int?> _limit = new("--limit")
    {
        HelpName = "N", Description = $"At most so many: the last ones. [default: {UsualLimit}, or with --since all]",
    };

    private readonly Option<bool> _json = new("--json")
    {
        Description = "Print one line of JSON for each (docs/events.md has the names).",
    };

    public Command Build()
    {
        var command = new Command("events", "Show what has happened to volumes, drives, exports and sessions.");
        command.Arguments.Add(_volume);
        command.Options.Add(_follow);
        command.Options.Add(_since);
        command.Options.Add(_limit);
        command.Options.Add(_json);
        _limit.Validators.Add(result =>
        {
            if (result.Tokens.Count == 1 && !(int.TryParse(result.Tokens[0].Value, out int limit) && limit >= 0))
            {
                result.AddError($"'{result.Tokens[0].Value}' is no number of events.");
            }
        });
        command.SetAction(RunAsync);
        HelpWithExamples.Add(command, "polyblk events data --since 1d", "polyblk events --follow --json | jq .message");
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        Terminal terminal = CommandSettings.Terminal(parsed);
        string? volume = parsed.GetValue(_volume);
        if (volume is not null)
        {
            VolumeName.Check(volume);
        }

        using HostDoor host = HostDoor.Open(parsed);
        EventStart? since = parsed.GetValue(_since);
        bool isJson = parsed.GetValue(_json);
        int limit = parsed.GetValue(_limit) ?? (since is null ? UsualLimit : int.MaxValue);
        Func<CancellationToken, Task<IReadOnlyList<EventJson>>> read = host.ReadEvents(since?.Sequence ?? 0);
        foreach (EventJson e in Wanted(await read(cancellation).ConfigureAwait(false)).TakeLast(limit))
        {
            Print(terminal, e, isJson);
        }

        try
        {
            while (parsed.GetValue(_follow))
            {
                await Task.Delay(host.EventsEvery, cancellation).ConfigureAwait(false);
                try
                {
                    foreach (EventJson e in Wanted(await read(cancellation).ConfigureAwait(false)))
                    {
                        Print(terminal, e, isJson);
                    }
                }
                catch (RefusalException e) when (e.Refusal.Kind == RefusalKind.Refused)
                {
                    // The daemon is started anew, or will be: who follows sees then what has come.
                }
            }
        }
        catch (OperationCanceledException)
        {
            return ExitCode.Interrupted; // Ctrl-C is how it ends.
        }

        return ExitCode.Ok;

        IEnumerable<EventJson> Wanted(IEnumerable<EventJson> all) =>
            all.Where(e => (volume is null || e.Volume == volume) && !(e.Time < since?.Time));
    }

    /// <summary>An event for people: when and what, and below it the sentence.</summary>
    internal static void Write(Terminal terminal, EventJson e)
    {
        const string Indent = "    ";
        string severity = e.Severity.ToString().ToLowerInvariant();
        string about = e.Volume is null ? string.Empty : $"  {e.Volume}";
        string time = e.Time.ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture);
        terminal.WriteHeading($"{time}Z  {severity,-7}  {e.Kind}{about}  #{e.Sequence}");
        foreach (string line in TextTable.Fold(Printable.Line(e.Message), terminal.Width - Indent.Length))
        {
            terminal.WriteLine(Indent + line);
        }
    }

    private static void Print(Terminal terminal, EventJson e, bool isJson)
    {
        if (isJson)
        {
            terminal.WriteJson(e, EventLineJson.Default.EventJson);
        }
        else
        {
            Write(terminal, e);
        }
    }
}

/// <summary>From where on events are shown.</summary>
/// <param name="Sequence">After this number.</param>
/// <param name="Time">Not before this time.</param>
internal sealed record EventStart(long Sequence, DateTimeOffset Time)
{
    /// <summary>Reads one; null where it is none.</summary>
    public static EventStart? Parse(string text, DateTimeOffset now) =>
        long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long sequence)
            ? new EventStart(sequence, DateTimeOffset.MinValue)
        : Duration.TryParse(text, out TimeSpan ago) && ago > TimeSpan.Zero ? new EventStart(0, now - ago)
        : DateTimeOffset.TryParse(
            text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out DateTimeOffset time) ? new EventStart(0, time)
        : null;
}
