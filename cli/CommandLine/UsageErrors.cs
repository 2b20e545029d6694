using System.CommandLine;

namespace Polyblk.Cli.CommandLine;

/// <summary>Says what is wrong with a command line, what was probably meant, and where the help is.</summary>
internal static class UsageErrors
{
    public static int Report(ParseResult parsed, TextWriter error)
    {
        Command command = parsed.CommandResult.Command;
        var reported = new HashSet<string>(StringComparer.Ordinal);
        foreach (string token in parsed.UnmatchedTokens)
        {
            if (reported.Add(token))
            {
                error.WriteLine($"error: {Unknown(command, token)}");
            }
        }

        foreach (var each in parsed.Errors)
        {
            bool isEcho = parsed.UnmatchedTokens.Any(t => each.Message.Contains($"'{t}'", StringComparison.Ordinal))
                || (parsed.UnmatchedTokens.Count > 0 && each.SymbolResult == parsed.CommandResult && command.Subcommands.Count > 0);
            if (!isEcho && reported.Add(each.Message))
            {
                error.WriteLine($"error: {each.Message}");
            }
        }

        error.WriteLine($"See: {CommandPath(command)} --help");
        return ExitCode.Usage;
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
