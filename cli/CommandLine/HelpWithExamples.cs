using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using System.Runtime.CompilerServices;

namespace Polyblk.Cli.CommandLine;

/// <summary>The library's help, followed by examples of the command.</summary>
internal sealed class HelpWithExamples(HelpAction inner) : SynchronousCommandLineAction
{
    private static readonly ConditionalWeakTable<Command, string[]> s_examples = [];

    public override bool ClearsParseErrors => inner.ClearsParseErrors;

    /// <summary>Gives a command its examples: lines as they are typed; lines that begin with '#' explain.</summary>
    public static void Add(Command command, params string[] lines) => s_examples.Add(command, lines);

    /// <summary>The examples of a command; empty where it has none.</summary>
    public static IReadOnlyList<string> Of(Command command) =>
        s_examples.TryGetValue(command, out string[]? lines) ? lines : [];

    public override int Invoke(ParseResult parseResult)
    {
        int rc = inner.Invoke(parseResult);
        if (s_examples.TryGetValue(parseResult.CommandResult.Command, out string[]? lines))
        {
            TextWriter output = parseResult.InvocationConfiguration.Output;
            output.WriteLine("Examples:");
            foreach (string line in lines)
            {
                output.WriteLine("  " + line);
            }

            output.WriteLine();
        }

        return rc;
    }
}
