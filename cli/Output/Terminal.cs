using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Polyblk.Host;
using Spectre.Console;

namespace Polyblk.Cli.Output;

/// <summary>
/// Standard output and error: tables and text for people, JSON for programs. Colour only on a terminal, and not with NO_COLOR.
/// </summary>
internal sealed class Terminal
{
    // A pipe has no width: tables must not be folded for it.
    private const int PipeWidth = 4096;

    private readonly TextWriter _output;
    private readonly TextWriter _error;
    private readonly IAnsiConsole _ansi;
    private bool _hasProgress;
    private int _toldTenths = -1;

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

    /// <summary>Whether somebody can be asked: standard input and error are a person's.</summary>
    public static bool CanAsk => !Console.IsInputRedirected && !Console.IsErrorRedirected;

    private bool IsErrorInteractive => ReferenceEquals(_error, Console.Error) && !Console.IsErrorRedirected;

    /// <summary>The width in columns, of a terminal; a pipe has so many that nothing is folded.</summary>
    public int Width => _ansi.Profile.Width;

    public void WriteLine(string text = "") => _output.WriteLine(Printable.Text(text));

    /// <summary>A line that stands over others: bold where there is colour.</summary>
    public void WriteHeading(string text)
    {
        if (_ansi.Profile.Capabilities.Ansi)
        {
            _output.WriteLine($"\e[1m{Printable.Line(text)}\e[0m");
        }
        else
        {
            WriteLine(text);
        }
    }

    /// <summary>Asks on standard error, and takes a line of standard input for the answer.</summary>
    /// <returns>Whether it was yes.</returns>
    public bool Ask(string question)
    {
        _error.Write($"{Printable.Text(question)} [y/N] ");
        _error.Flush();
        return Console.In.ReadLine()?.Trim() is string answer && answer.ToUpperInvariant() is "Y" or "YES";
    }

    /// <summary>
    /// A screen of its own on which <see cref="Draw"/> shows one picture after the other, until it is disposed. Only where <see
    /// cref="IsInteractive"/>.
    /// </summary>
    public IDisposable OpenScreen()
    {
        _output.Write("\e[?1049h\e[?25l");
        return new Screen(_output);
    }

    /// <summary>Shows lines on the screen in place of those before; what is below its end is left out.</summary>
    public void Draw(IEnumerable<string> lines)
    {
        string picture = string.Join("\e[K\n", lines.Take(Math.Max(1, _ansi.Profile.Height - 1)).Select(Printable.Line));
        _output.Write($"\e[H{picture}\e[K\n\e[J");
        _output.Flush();
    }

    /// <summary>Something to know that does not stop the command. Goes to standard error.</summary>
    public void Note(string text) => _error.WriteLine($"note: {Printable.Text(text)}");

    public void Warn(string text) => _error.WriteLine($"warning: {Printable.Text(text)}");

    /// <summary>
    /// How far something is, on standard error: a line that is written anew where a person looks at it, and otherwise a line for
    /// each tenth.
    /// </summary>
    public void Progress(string text, int percent)
    {
        if (IsErrorInteractive)
        {
            _error.Write($"\r\e[K{Printable.Line(text)}");
            _error.Flush();
            _hasProgress = true;
        }
        else if (percent / 10 > _toldTenths)
        {
            _toldTenths = percent / 10;
            _error.WriteLine(Printable.Line(text));
        }
    }

    /// <summary>The end of <see cref="Progress"/>.</summary>
    public void EndProgress(string text)
    {
        _error.Write(_hasProgress ? "\r\e[K" : string.Empty);
        _error.WriteLine(Printable.Text(text));
        _hasProgress = false;
        _toldTenths = -1;
    }

    private sealed class Screen(TextWriter output) : IDisposable
    {
        public void Dispose()
        {
            output.Write("\e[?25h\e[?1049l");
            output.Flush();
        }
    }

    public void WriteJson<T>(T value, JsonTypeInfo<T> type)
    {
        _output.WriteLine(JsonSerializer.Serialize(value, type));
        _output.Flush();
    }
}
