// The options of everything that serves: serve, the daemon, its exports.

using System.CommandLine;
using System.Globalization;
using Polyblk.Core.Reactors;
using Polyblk.Frontends;
using Polyblk.Host;
using Polyblk.Host.Serving;

namespace Polyblk.Cli.CommandLine;

/// <summary>Makes those options, and checks what they say.</summary>
internal static class ServingOptions
{
    private const int MostSeconds = 86400;

    public static Option<CpuSet?> Reactors() => new("--reactors")
    {
        HelpName = "CPUSET",
        Description = "Processors to poll on, one reactor each, such as 2-5 or 0,2. [default: all but one, at most 8, at most one for each queue]",
        CustomParser = result => ParseOrReport(result, CpuSet.Parse),
    };

    public static Option<IdlePolicy?> Idle() => new("--idle")
    {
        HelpName = "POLICY",
        Description = "How long a reactor without work polls before it sleeps: latency (for ever), balanced (50us), frugal (not at all), "
            + "or a time such as 20us. [default: balanced]",
        CustomParser = result => ParseOrReport(result, IdlePolicy.Parse),
    };

    public static Option<bool> Force() => new("--force-assembly")
    {
        Description = "Start an array that lacks a member and was not stopped cleanly: what was being written then may be "
            + "damaged. Or serve a drive that is a member of an array alone.",
    };

    public static Option<int?> BlockSize()
    {
        var option = new Option<int?>("--block-size")
        {
            HelpName = "BYTES",
            Description = "512 or 4096: what its users saw, for an array made by an older polyblk that lacks a member. Others know "
                + "their own.",
        };
        option.AcceptOnlyFromAmong("512", "4096");
        return option;
    }

    /// <summary>A time in seconds.</summary>
    public static Option<int> Seconds(string name, string description, int byDefault)
    {
        return new Option<int>(name)
        {
            HelpName = "SECONDS",
            Description = description,
            DefaultValueFactory = _ => byDefault,
            CustomParser = result =>
            {
                string text = result.Tokens[0].Value;
                if (TryParseSeconds(text, out int seconds))
                {
                    return seconds;
                }

                result.AddError(string.Create(
                    CultureInfo.InvariantCulture,
                    $"'{text}' is no time for {name}: write seconds, 0 to {MostSeconds}, or as 30s or 5m."));
                return 0;
            },
        };
    }

    private static bool TryParseSeconds(string text, out int seconds)
    {
        int factor = text.EndsWith('m') ? 60 : 1;
        string number = text.EndsWith('m') || text.EndsWith('s') ? text[..^1] : text;
        bool isTime = int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out seconds)
            && seconds <= MostSeconds / factor;
        seconds *= isTime ? factor : 0;
        return isTime;
    }

    /// <summary>Gives a command <c>--frontend</c> and the options that may follow it.</summary>
    public static void AddFrontends(Command command, IReadOnlyList<IFrontend> frontends)
    {
        command.Options.Add(new Option<string[]>(FrontendGroupParser.FrontendOptionName)
        {
            HelpName = "NAME",
            Description = "A door to the volume; options that follow belong to it, and there may be several. "
                + string.Join(" ", frontends.Select(f => $"{f.Name}: {f.Description}")),
        });
        foreach (Option option in FrontendOptions(frontends))
        {
            command.Options.Add(option);
        }
    }

    /// <summary>
    /// A folder that is not there is a typing error more often than a wish: none is made, least of all as root.
    /// </summary>
    public static void RequireSocketFolders(IReadOnlyList<FrontendGroup> groups)
    {
        foreach (string path in groups.Select(g => g.SocketPath).OfType<string>())
        {
            string? folder = Path.GetDirectoryName(path);
            if (folder is not null && !Directory.Exists(folder))
            {
                throw RefusalException.NotFound(
                    $"There is no folder {folder} for the socket {path}: make it, or choose another path.");
            }
        }
    }

    private static T? ParseOrReport<T>(System.CommandLine.Parsing.ArgumentResult result, Func<string, T> parse)
        where T : class
    {
        try
        {
            return parse(result.Tokens[0].Value);
        }
        catch (FormatException e)
        {
            result.AddError(e.Message);
            return null;
        }
    }

    /// <summary>Every option of every frontend once, for the help and the parser.</summary>
    private static IEnumerable<Option> FrontendOptions(IReadOnlyList<IFrontend> frontends)
    {
        foreach (FrontendOption option in FrontendGroupParser.Common)
        {
            yield return MakeOption(option, option.Description);
        }

        foreach (var same in frontends.SelectMany(f => f.Options.Select(o => (Frontend: f.Name, Option: o))).GroupBy(p => p.Option.Name))
        {
            string description = string.Join(" ", same.Select(p => $"{p.Frontend}: {p.Option.Description}"));
            yield return MakeOption(same.First().Option, description);
        }
    }

    private static Option MakeOption(FrontendOption option, string description) => option.ValueHint is null
        ? new Option<bool>("--" + option.Name) { Description = description, Arity = ArgumentArity.Zero }
        : new Option<string[]>("--" + option.Name) { Description = description, HelpName = option.ValueHint };
}
