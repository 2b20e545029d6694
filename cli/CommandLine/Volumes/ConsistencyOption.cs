using System.CommandLine;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.CommandLine.Volumes;

/// <summary>The option <c>--consistency</c>.</summary>
internal static class ConsistencyOption
{
    public static Option<string?> Create(string description)
    {
        var option = new Option<string?>("--consistency") { HelpName = "HOW", Description = description };
        option.AcceptOnlyFromAmong(ConsistencyWord.All);
        return option;
    }
}
