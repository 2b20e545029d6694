using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Spectre.Console;

namespace Polyblk.Cli.Output;

/// <summary>Standard output and error: tables and text for people, JSON for programs. Colour only on a terminal, and not with NO_COLOR.</summary>
internal sealed class Terminal
{
    // A pipe has no width: tables must not be folded for it.
    private const int PipeWidth = 4096;

    private readonly TextWriter _output;
    private readonly TextWriter _error;
    private readonly IAnsiConsole _ansi;

    public Terminal(TextWriter output, TextWriter error)
    {
        _output = output;
        _error = error;
        bool plain = Console.IsOutputRedirected || !ReferenceEquals(output, Console.Out)
            || !string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"));
        _ansi = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Out = new AnsiConsoleOutput(output),
            Ansi = plain ? AnsiSupport.No : AnsiSupport.Detect,
            ColorSystem = plain ? ColorSystemSupport.NoColors : ColorSystemSupport.Detect,
        });
        if (Console.IsOutputRedirected || !ReferenceEquals(output, Console.Out))
        {
            _ansi.Profile.Width = PipeWidth;
        }
    }

    /// <summary>For tables and progress.</summary>
    public IAnsiConsole Ansi => _ansi;

    /// <summary>Whether a person looks at standard output.</summary>
    public bool IsInteractive => _ansi.Profile.Out.IsTerminal;

    public void WriteLine(string text = "") => _output.WriteLine(text);

    /// <summary>Something to know that does not stop the command. Goes to standard error.</summary>
    public void Note(string text) => _error.WriteLine($"note: {text}");

    public void Warn(string text) => _error.WriteLine($"warning: {text}");

    public void WriteJson<T>(T value, JsonTypeInfo<T> type)
    {
        _output.WriteLine(JsonSerializer.Serialize(value, type));
        _output.Flush();
    }

    /// <summary>A table of the house style: no frame, bold headings.</summary>
    public static Table NewTable(params string[] columns)
    {
        var table = new Table { Border = TableBorder.None, ShowRowSeparators = false };
        foreach (string column in columns)
        {
            table.AddColumn(new TableColumn($"[bold]{Markup.Escape(column)}[/]") { NoWrap = true, Padding = new Padding(0, 0, 2, 0) });
        }

        return table;
    }
}
