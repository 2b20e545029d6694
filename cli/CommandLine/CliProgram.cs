// From the arguments to the exit code. Every error ends here as one message on standard error that says what to do.

using System.CommandLine;
using System.CommandLine.Completions;
using System.CommandLine.Help;
using Microsoft.Extensions.DependencyInjection;
using Polyblk.Cli.Output;
using Polyblk.Frontends;
using Polyblk.Host;

namespace Polyblk.Cli.CommandLine;

/// <summary>The program.</summary>
internal static class CliProgram
{
    /// <summary>Runs a command line and returns one of <see cref="ExitCode"/>.</summary>
    public static async Task<int> RunAsync(IReadOnlyList<string> args, TextWriter output, TextWriter error)
    {
        await using ServiceProvider services = Composition.Build();
        ParseResult parsed = BuildRoot(services, args).Parse(args);
        bool isWrong = parsed.Errors.Count > 0 || UsageErrors.OptionsTakenForArguments(parsed).Any() || UsageErrors.HasEmptyWord(parsed);
        if (isWrong && parsed.Action is not HelpWithExamples && !IsCompletion(parsed))
        {
            return UsageErrors.Report(parsed, error);
        }

        try
        {
            var configuration = new InvocationConfiguration
            {
                EnableDefaultExceptionHandler = false,
                ProcessTerminationTimeout = null,
                Output = output,
                Error = error,
            };
            return await parsed.InvokeAsync(configuration).ConfigureAwait(false);
        }
#pragma warning disable CA1031 // The last place where an exception can become a message.
        catch (Exception e)
#pragma warning restore CA1031
        {
            return Report(e, parsed.GetValue(CommandSettings.Verbose), error);
        }
    }

    /// <summary>Whether a shell asks how a command line goes on, which is not whole yet (the library's directive).</summary>
    private static bool IsCompletion(ParseResult parsed) => parsed.RootCommandResult.Command is RootCommand root
        && root.Directives.OfType<SuggestDirective>().Any(d => parsed.GetResult(d) is not null);

    /// <summary>The whole command tree, for its manual pages.</summary>
    public static RootCommand DescribeAll()
    {
        using ServiceProvider services = Composition.Build();
        return BuildRoot(services, []);
    }

    /// <summary>
    /// The command tree: of the command that comes first, or of all where none does. Making all would be a tenth of the time
    /// until a server that is started again serves.
    /// </summary>
    private static RootCommand BuildRoot(ServiceProvider services, IReadOnlyList<string> args)
    {
        var root = new RootCommand("RAID volumes for virtual machines and containers: vhost-user-blk and further doors, one core.");
        root.Options.Add(CommandSettings.State);
        root.Options.Add(CommandSettings.Verbose);
        root.Options.Add(CommandSettings.LogLevel);
        ICliCommand? named = args.Count > 0 ? services.GetKeyedService<ICliCommand>(args[0]) : null;
        foreach (ICliCommand command in named is null ? services.GetKeyedServices<ICliCommand>(KeyedService.AnyKey) : [named])
        {
            root.Subcommands.Add(command.Build());
        }

        foreach (HelpOption help in root.Options.OfType<HelpOption>())
        {
            help.Action = new HelpWithExamples((HelpAction)help.Action!);
        }

        foreach (VersionOption version in root.Options.OfType<VersionOption>())
        {
            // The library's own stands alone; this one says more with --verbose.
            version.Validators.Clear();
            version.Action = new VersionWithDetails();
            version.Description = "Show the version; with --verbose also what the program was compiled for, and its parity kernels, the one in use first.";
        }

        HelpWithExamples.Add(
            root,
            "# a volume on three drives, and a door to it for a virtual machine",
            "polyblk volume create data --level raid5 /dev/sdb /dev/sdc /dev/sdd",
            "polyblk serve data --frontend vhost-user",
            "# the same without drives, to try it",
            "polyblk volume create toy --level raid5 file:/tmp/a,size=1GiB file:/tmp/b,size=1GiB file:/tmp/c,size=1GiB",
            "# which way of attaching is the fastest here?",
            "polyblk compare");
        return root;
    }

    private static int Report(Exception e, bool verbose, TextWriter error)
    {
        (int code, string message) = e is OperationCanceledException ? (ExitCode.Interrupted, "Interrupted.")
            : Refusals.Of(e) is Refusal refusal ? (ExitCode.Of(refusal.Kind), refusal.Message)
            : (ExitCode.Failed, $"{e.GetType().Name}: {e.Message} This is a bug; --verbose shows where it happened.");
        error.WriteLine($"error: {Printable.Text(message)}");
        if (verbose)
        {
            error.WriteLine(Printable.Text(e.ToString()));
        }

        return code;
    }
}
