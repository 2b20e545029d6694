// A manual page made of a command as System.CommandLine knows it: what --help prints, in the form of man(7).

using System.CommandLine;
using System.CommandLine.Completions;
using System.Globalization;
using System.Text;
using Polyblk.Cli;
using Polyblk.Cli.CommandLine;

namespace Polyblk.Manual;

/// <summary>One page.</summary>
/// <param name="Name">Without the section: the words of the command with dashes between them.</param>
/// <param name="Text">As man(1) reads it.</param>
internal sealed record ManualPage(string Name, string Text)
{
    private const string Program = "polyblk";

    private static readonly (int Code, string Meaning)[] s_exitCodes =
    [
        (ExitCode.Ok, "Done."),
        (ExitCode.Failed, "Something failed that has no number of its own."),
        (ExitCode.Usage, "The command line is wrong."),
        (ExitCode.NotFound, "A volume, drive or path that was named is not there."),
        (ExitCode.Refused, "Refused, because something is in use or would be lost; nothing was changed."),
        (ExitCode.HostLacks, "The host or a device lacks what this needs: a kernel module, a right, memory."),
        (ExitCode.Interrupted, "Ended in order by Ctrl-C, or by SIGTERM."),
    ];

    /// <summary>The pages of a command and of all below it.</summary>
    /// <param name="root">The program's.</param>
    /// <param name="date">What stands at the foot.</param>
    public static IEnumerable<ManualPage> All(RootCommand root, string date) => Of(root, [], root, date);

    private static IEnumerable<ManualPage> Of(Command command, string[] path, RootCommand root, string date)
    {
        yield return new ManualPage(NameOf(path), new Writer(root, command, path, date).Write());
        foreach (Command below in Visible(command.Subcommands))
        {
            foreach (ManualPage page in Of(below, [.. path, below.Name], root, date))
            {
                yield return page;
            }
        }
    }

    private static string NameOf(string[] path) => string.Join('-', (string[])[Program, .. path]);

    private static IEnumerable<T> Visible<T>(IEnumerable<T> symbols)
        where T : Symbol => symbols.Where(s => !s.Hidden);

    /// <summary>The first sentence of a description, without its full stop.</summary>
    private static string Brief(string? description)
    {
        string text = description ?? string.Empty;
        int end = text.IndexOf(". ", StringComparison.Ordinal);
        return (end < 0 ? text : text[..end]).TrimEnd('.').ReplaceLineEndings(" ");
    }

    private sealed class Writer(RootCommand root, Command command, string[] path, string date)
    {
        private readonly StringBuilder _text = new();

        private bool IsRoot => path.Length == 0;

        public string Write()
        {
            string version = typeof(CliProgram).Assembly.GetName().Version!.ToString(3);
            string title = Roff.Escape(NameOf(path).ToUpperInvariant());
            Put($".TH \"{title}\" \"1\" \"{date}\" \"{Program} {version}\" \"User Commands\"");
            Section("NAME");
            Put($"{Roff.Escape(NameOf(path))} \\- {Roff.Escape(Brief(command.Description))}");
            Section("SYNOPSIS");
            Put(Synopsis());
            Section("DESCRIPTION");
            Put(Roff.Line(command.Description ?? string.Empty));
            Arguments();
            Options("OPTIONS", Visible(command.Options));
            if (!IsRoot)
            {
                Options("COMMON OPTIONS", Visible(root.Options).Where(o => o.Recursive));
            }

            Commands();
            Examples();
            if (IsRoot)
            {
                ExitCodes();
            }

            SeeAlso();
            return _text.ToString();
        }

        private void Put(string line) => _text.Append(line).Append('\n');

        private void Section(string name) => Put($".SH {name}");

        private void Item(string label, string? description)
        {
            Put(".TP");
            Put(label);
            Put(Roff.Line(string.IsNullOrWhiteSpace(description) ? "(no more to say)" : description));
        }

        private string Synopsis()
        {
            var words = new List<string> { Roff.Bold(string.Join(' ', (string[])[Program, .. path])) };
            if (command.Subcommands.Count > 0)
            {
                words.Add(Roff.Italic("COMMAND"));
            }

            words.AddRange(Visible(command.Arguments).Select(ArgumentWord));
            words.AddRange(Visible(command.Options).Where(o => o.Required).Select(OptionWord));
            if (Visible(command.Options).Any(o => !o.Required))
            {
                words.Add($"[{Roff.Italic("OPTION")}...]");
            }

            return string.Join(' ', words);
        }

        private static string ArgumentWord(Argument argument)
        {
            string word = Roff.Italic(argument.HelpName ?? argument.Name.ToUpperInvariant());
            word = argument.Arity.MaximumNumberOfValues > 1 ? word + "..." : word;
            return argument.Arity.MinimumNumberOfValues == 0 ? $"[{word}]" : word;
        }

        private static string OptionWord(Option option)
        {
            // Those with a slash are of another system.
            IEnumerable<string> words = new[] { option.Name }.Concat(option.Aliases).Distinct().Where(w => w[0] != '/');
            string names = string.Join(", ", words.Select(Roff.Bold));
            return HasValue(option) ? $"{names} {Roff.Italic(ValueOf(option))}" : names;
        }

        private static bool HasValue(Option option) => option.Arity.MaximumNumberOfValues > 0 && option.ValueType != typeof(bool);

        /// <summary>What help prints for the value: its name, or the words that it may be.</summary>
        private static string ValueOf(Option option)
        {
            if (option.HelpName is string name)
            {
                return name;
            }

            string[] choices = [.. option.GetCompletions(CompletionContext.Empty).Select(c => c.Label)];
            return choices.Length > 0 ? string.Join('|', choices) : option.Name.TrimStart('-').ToUpperInvariant();
        }

        private void Arguments()
        {
            Argument[] arguments = [.. Visible(command.Arguments)];
            if (arguments.Length == 0)
            {
                return;
            }

            Section("ARGUMENTS");
            foreach (Argument argument in arguments)
            {
                Item(ArgumentWord(argument), argument.Description);
            }
        }

        private void Options(string title, IEnumerable<Option> options)
        {
            Option[] all = [.. options];
            if (all.Length == 0)
            {
                return;
            }

            Section($"\"{title}\"");
            foreach (Option option in all)
            {
                string? preset = option.HasDefaultValue && HasValue(option)
                    ? Convert.ToString(option.GetDefaultValue(), CultureInfo.InvariantCulture) : null;
                string tail = string.IsNullOrEmpty(preset) ? string.Empty : $" Default: {preset}.";
                Item(OptionWord(option), option.Description + tail);
            }
        }

        private void Commands()
        {
            Command[] commands = [.. Visible(command.Subcommands)];
            if (commands.Length == 0)
            {
                return;
            }

            Section("COMMANDS");
            foreach (Command below in commands)
            {
                Item($"{Roff.Bold(NameOf([.. path, below.Name]))}(1)", below.Description);
            }
        }

        private void Examples()
        {
            IReadOnlyList<string> lines = HelpWithExamples.Of(command);
            if (lines.Count == 0)
            {
                return;
            }

            Section("EXAMPLES");
            Put(".nf");
            foreach (string line in lines)
            {
                Put(Roff.Line(line));
            }

            Put(".fi");
        }

        private void ExitCodes()
        {
            Section("\"EXIT STATUS\"");
            foreach ((int code, string meaning) in s_exitCodes)
            {
                Item(Roff.Bold(code.ToString(CultureInfo.InvariantCulture)), meaning);
            }
        }

        private void SeeAlso()
        {
            string[] pages = IsRoot ? [] : [NameOf(path[..^1])];
            Section("\"SEE ALSO\"");
            foreach (string page in pages)
            {
                Put($"{Roff.Bold(page)}(1),");
            }

            Put("the documents in /usr/share/doc/polyblk");
        }
    }
}
