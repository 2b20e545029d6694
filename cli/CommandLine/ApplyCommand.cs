// polyblk apply: a file says what volumes and exports this host is to have.

using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Frontends;
using Polyblk.Host;
using Polyblk.Host.Declared;
using Polyblk.Host.State;

namespace Polyblk.Cli.CommandLine;

/// <summary><c>polyblk apply</c>.</summary>
internal sealed class ApplyCommand(IEnumerable<IFrontend> frontends) : ICliCommand
{
    private const string StandardInput = "-";

    private readonly IFrontend[] _frontends = [.. frontends];
    private readonly Argument<string?> _file = new("FILE")
    {
        Description = "The file, YAML (docs/apply.md); - reads standard input.", Arity = ArgumentArity.ZeroOrOne,
    };

    private readonly Option<bool> _dryRun = new("--dry-run")
    {
        Description = "Change nothing; show what would be done: + is made, ~ is changed, - is removed, = stays. The exit code is 0 where nothing differs, "
            + $"{ExitCode.Differs} where something does.",
    };

    private readonly Option<bool> _prune = new("--prune")
    {
        Description =
            "Also remove the exports that the file does not name, of volumes whose exports it names, unless they are in use.",
    };

    private readonly Option<bool> _print = new("--print")
    {
        Description = "Print such a file of the volumes and exports that are there, and do nothing.",
    };

    private readonly Option<bool> _json = CommandSettings.Json();

    public Command Build()
    {
        var command = new Command(
            "apply",
            "Make the volumes and exports that a file names, and change what differs. What is there already stays as it is, and no volume, drive or data is taken away.");
        command.Arguments.Add(_file);
        command.Options.Add(_dryRun);
        command.Options.Add(_prune);
        command.Options.Add(_print);
        command.Options.Add(_json);
        command.Validators.Add(result =>
        {
            if (result.GetValue(_print) == (result.GetResult(_file) is { Tokens.Count: > 0 }))
            {
                result.AddError(
                    result.GetValue(_print) ? "--print takes no FILE." : "Say which FILE to apply; - reads standard input.");
            }
        });
        command.SetAction(RunAsync);
        HelpWithExamples.Add(
            command,
            "polyblk apply storage.yaml --dry-run",
            "polyblk apply storage.yaml",
            "# such a file",
            "volumes:",
            "  data:",
            "    level: raid5",
            "    drives: [/dev/sdb, /dev/sdc, /dev/sdd]",
            "    exports:",
            "      - frontend: vhost-user",
            "        queues: 4",
            "# of what is there",
            "polyblk apply --print > storage.yaml");
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        StateDirectories directories = CommandSettings.Directories(parsed);
        Terminal terminal = CommandSettings.Terminal(parsed);
        if (parsed.GetValue(_print))
        {
            DeclarationWriter.Write(parsed.InvocationConfiguration.Output, new VolumeStore(directories).List(terminal.Warn));
            return ExitCode.Ok;
        }

        bool isDry = parsed.GetValue(_dryRun), json = parsed.GetValue(_json);
        var done = new List<Difference>();
        ApplyPlan? plan = null;
        try
        {
            plan = await MakeAsync(parsed, directories, terminal, cancellation).ConfigureAwait(false);
            if (isDry)
            {
                plan.Differences.ToList().ForEach(Say);
            }
            else
            {
                await plan.DoAsync(Say, cancellation).ConfigureAwait(false);
            }
        }
        catch (Exception e) when (json)
        {
            // A program reads one document, whatever becomes of it; the error goes its way all the same.
            Refusal refusal = Refusals.Of(e)
                ?? new Refusal(RefusalKind.Failed, e is OperationCanceledException ? "Interrupted." : e.Message);
            Write(new ApplyFailureJson(refusal.Kind, refusal.Problem, refusal.Remedy, plan?.Doing));
            throw;
        }

        if (json)
        {
            Write(null);
        }
        else
        {
            int count = done.Count(d => d.Kind != DifferenceKind.None);
            terminal.WriteLine(
                !plan.Differs ? "Nothing differs." : isDry ? $"{Changes(count)} would be made." : $"{Changes(count)} made.");
        }

        return isDry && plan.Differs ? ExitCode.Differs : ExitCode.Ok;

        void Say(Difference difference)
        {
            done.Add(difference);
            if (!json)
            {
                terminal.WriteLine(difference.ToString());
            }
        }

        void Write(ApplyFailureJson? failure) => terminal.WriteJson(
            new ApplyJson
            {
                DryRun = isDry, Differs = plan?.Differs, Differences = done, Notes = plan?.Notes ?? [], Failure = failure,
            },
            OutputJson.Default.ApplyJson);
    }

    private async Task<ApplyPlan> MakeAsync(
        ParseResult parsed, StateDirectories directories, Terminal terminal, CancellationToken cancellation)
    {
        Declaration declared = Read(parsed.GetRequiredValue(_file)!);
        var options = new ApplyOptions(parsed.GetValue(_prune))
        {
            OpenLog = volume => LogSetup.CreateFactory(
                directories, volume, CommandSettings.Level(parsed), parsed.GetValue(CommandSettings.Verbose)),
            Note = terminal.Note,
            Warn = terminal.Warn,
        };
        ApplyPlan plan = await Planner.MakeAsync(directories, declared, options, cancellation).ConfigureAwait(false);
        foreach (string note in plan.Notes)
        {
            terminal.Note(note);
        }

        return plan;
    }

    private Declaration Read(string file)
    {
        if (file == StandardInput)
        {
            using Stream input = Console.OpenStandardInput();
            return DeclarationReader.Read("standard input", input, _frontends);
        }

        using FileStream stream = new(
            file, new FileStreamOptions { Access = FileAccess.Read, Share = FileShare.ReadWrite, BufferSize = 0 });
        return DeclarationReader.Read(file, stream, _frontends);
    }

    private static string Changes(int count) => count == 1 ? "1 change" : $"{count} changes";
}
