// polyblk top: what the daemon does now, again and again.

using System.CommandLine;
using System.Globalization;
using Polyblk.Api;
using Polyblk.Cli.Output;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.State;

namespace Polyblk.Cli.CommandLine;

/// <summary><c>polyblk top [VOLUME]</c>.</summary>
internal sealed class TopCommand : ICliCommand
{
    private const double UsualSeconds = 1;
    private const double LeastSeconds = 0.1;
    private const double MostSeconds = 3600;

    private readonly Argument<string?> _volume = new("VOLUME")
    {
        Description = "Only this volume. [default: all of the daemon]", Arity = ArgumentArity.ZeroOrOne,
    };

    private readonly Option<double> _interval = new("--interval", "-i")
    {
        HelpName = "SECONDS",
        Description = $"How long an interval is: {LeastSeconds} to {MostSeconds}.",
        DefaultValueFactory = _ => UsualSeconds,
        CustomParser = result =>
        {
            string text = result.Tokens[0].Value;
            if (double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double seconds)
                && seconds is >= LeastSeconds and <= MostSeconds)
            {
                return seconds;
            }

            result.AddError($"'{text}' is no interval: write seconds, {LeastSeconds} to {MostSeconds}.");
            return UsualSeconds;
        },
    };

    private readonly Option<bool> _once = new("--once") { Description = "Show one interval, and end." };

    private readonly Option<bool> _json = new("--json")
    {
        Description = "Print one interval as a line of JSON, and end (see docs/cli.md for the names).",
    };

    public Command Build()
    {
        var command = new Command("top", "Watch requests, latency, drives and reactors of the daemon, until Ctrl-C.");
        command.Arguments.Add(_volume);
        command.Options.Add(_interval);
        command.Options.Add(_once);
        command.Options.Add(_json);
        command.SetAction(RunAsync);
        HelpWithExamples.Add(
            command, "polyblk top", "polyblk top data --interval 10 --json | jq .volumes[0].total.latency.p9999Us");
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken ignored)
    {
        // Ended by a signal, it would leave the terminal on a screen without a cursor.
        using var interruption = new Interruption();
        CancellationToken cancellation = interruption.Token;
        Terminal terminal = CommandSettings.Terminal(parsed);
        bool isJson = parsed.GetValue(_json);
        bool isOnce = isJson || parsed.GetValue(_once);
        using var client = new ApiClient(CommandSettings.Directories(parsed));
        var source = new TopSource(client, parsed.GetValue(_volume), TimeSpan.FromSeconds(parsed.GetValue(_interval)));
        await source.BeginAsync(cancellation).ConfigureAwait(false);
        if (isOnce)
        {
            TopJson interval = await source.NextAsync(cancellation).ConfigureAwait(false);
            if (isJson)
            {
                terminal.WriteJson(interval, TopLineJson.Default.TopJson);
            }
            else
            {
                Print(terminal, TopReport.Render(interval, terminal.Width));
            }

            return ExitCode.Ok;
        }

        try
        {
            using IDisposable? screen = terminal.IsInteractive ? terminal.OpenScreen() : null;
            while (true)
            {
                IReadOnlyList<string> lines = await NextLinesAsync(source, terminal.Width, cancellation).ConfigureAwait(false);
                if (screen is null)
                {
                    Print(terminal, [.. lines, string.Empty]);
                }
                else
                {
                    terminal.Draw(lines);
                }
            }
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            return ExitCode.Interrupted; // Ctrl-C is how it ends.
        }
    }

    /// <summary>An interval's lines, with the time above; or why there is none, while a daemon is started again.</summary>
    private static async Task<IReadOnlyList<string>> NextLinesAsync(TopSource source, int width, CancellationToken cancellation)
    {
        string heading = string.Create(
            CultureInfo.InvariantCulture, $"polyblk top, {DateTime.Now:HH:mm:ss}, every {source.Interval.TotalSeconds} s");
        try
        {
            TopJson interval = await source.NextAsync(cancellation).ConfigureAwait(false);
            return [heading, string.Empty, .. TopReport.Render(interval, width)];
        }
        catch (RefusalException e) when (e.Kind == RefusalKind.Refused)
        {
            return [heading, string.Empty, .. TextTable.Fold(e.Message, width)];
        }
    }

    private static void Print(Terminal terminal, IEnumerable<string> lines)
    {
        foreach (string line in lines)
        {
            terminal.WriteLine(line);
        }
    }
}

/// <summary>Takes pictures of the daemon, and makes intervals of them.</summary>
/// <param name="client">The API.</param>
/// <param name="volume">The volume that is looked at; null for all.</param>
/// <param name="interval">How long each lasts.</param>
internal sealed class TopSource(ApiClient client, string? volume, TimeSpan interval)
{
    private StatisticsJson? _before;

    /// <summary>How long each lasts.</summary>
    public TimeSpan Interval => interval;

    /// <summary>The first picture.</summary>
    /// <exception cref="RefusalException">There is no daemon, or it has no such volume.</exception>
    public async Task BeginAsync(CancellationToken cancellation)
    {
        if (volume is not null)
        {
            VolumeName.Check(volume);
        }

        _before = await client.GetStatisticsAsync(cancellation).ConfigureAwait(false);
        if (volume is not null && _before.Volumes.All(v => v.Name != volume))
        {
            throw RefusalException.NotFound($"The daemon has no volume '{volume}'.", "'polyblk export list' shows what it has.");
        }
    }

    /// <summary>
    /// Waits for an interval's end. Where the picture at its beginning could not be taken, a new one begins it.
    /// </summary>
    /// <exception cref="RefusalException">The daemon does not answer; it may be asked again.</exception>
    public async Task<TopJson> NextAsync(CancellationToken cancellation)
    {
        await Task.Delay(interval, cancellation).ConfigureAwait(false);
        if (_before is null)
        {
            _before = await client.GetStatisticsAsync(cancellation).ConfigureAwait(false);
            await Task.Delay(interval, cancellation).ConfigureAwait(false);
        }

        StatisticsJson before = _before;
        _before = null;
        StatisticsJson after = await client.GetStatisticsAsync(cancellation).ConfigureAwait(false);
        _before = after;
        TopJson all = TopJson.Between(before, after);
        return volume is null ? all : all with { Volumes = [.. all.Volumes.Where(v => v.Name == volume)] };
    }
}
