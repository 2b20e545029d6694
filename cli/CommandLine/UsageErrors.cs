using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Host;

namespace Polyblk.Cli.CommandLine;

/// <summary>Says what is wrong with a command line, what was probably meant, and where the help is.</summary>
internal static class UsageErrors
{
    public static int Report(ParseResult parsed, TextWriter error)
    {
        Command command = parsed.CommandResult.Command;
        var reported = new HashSet<string>(StringComparer.Ordinal);
        // After a command that is not known, everything else is unknown too: only the first word matters.
        foreach (string token in command.Subcommands.Count > 0 ? parsed.UnmatchedTokens.Take(1) : parsed.UnmatchedTokens)
        {
            if (reported.Add(token))
            {
                error.WriteLine($"error: {Printable.Line(Unknown(command, token))}");
            }
        }

        // An argument of any number takes unknown options for its values.
        foreach (string token in OptionsTakenForArguments(parsed))
        {
            error.WriteLine($"error: {Printable.Line(Unknown(command, token))}");
        }

        foreach (var each in parsed.Errors)
        {
            bool isEcho = parsed.UnmatchedTokens.Any(t => each.Message.Contains($"'{t}'", StringComparison.Ordinal))
                || (parsed.UnmatchedTokens.Count > 0 && each.SymbolResult == parsed.CommandResult && command.Subcommands.Count > 0);
            if (!isEcho && reported.Add(each.Message))
            {
                error.WriteLine($"error: {Printable.Text(each.Message)}");
            }
        }

        if (reported.Count == 0 && HasEmptyWord(parsed))
        {
            error.WriteLine("error: A word of the command line is empty: perhaps a variable that is not set.");
        }

        error.WriteLine($"See: {CommandPath(command)} --help");
        return ExitCode.Usage;
    }

    /// <summary>Whether a value is empty, which none may be.</summary>
    public static bool HasEmptyWord(ParseResult parsed) => parsed.Tokens.Any(t => t.Value.Length == 0);

    /// <summary>Words that begin with a dash and were taken for arguments; what follows <c>--</c> is meant so.</summary>
    public static IEnumerable<string> OptionsTakenForArguments(ParseResult parsed)
    {
        IEnumerable<string> arguments = parsed.CommandResult.Command.Arguments
            .Select(parsed.GetResult).Where(r => r is not null).SelectMany(r => r!.Tokens).Select(t => t.Value);
        bool literal = parsed.Tokens.Any(t => t.Type == System.CommandLine.Parsing.TokenType.DoubleDash);
        return literal ? [] : arguments.Where(a => a.Length > 1 && a[0] == '-');
    }

    private static string Unknown(Command command, string token)
    {
        bool isOption = token.StartsWith('-');
        string name = token.Split('=')[0];
        IEnumerable<string> known = isOption
            ? Ancestry(command).SelectMany(c => c.Options.Where(o => c == command || o.Recursive)).SelectMany(o => o.Aliases.Append(o.Name))
            : command.Subcommands.Select(c => c.Name);
        string what = isOption ? "option" : command.Subcommands.Count > 0 ? "command" : "argument";
        string hint = Suggestion.Nearest(name, known) is string near ? $" Did you mean '{near}'?" : string.Empty;
        return $"'{CommandPath(command)}' knows no {what} '{token}'.{hint}";
    }

    private static string CommandPath(Command command) => string.Join(' ', Ancestry(command).Reverse().Select(c => c.Name));

    private static IEnumerable<Command> Ancestry(Command command)
    {
        for (Command? c = command; c is not null; c = c.Parents.OfType<Command>().FirstOrDefault())
        {
            yield return c;
        }
    }
}
