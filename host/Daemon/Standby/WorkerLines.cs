// What passes between a supervisor and its workers, a line each:
//
//   supervisor to one that stands by     serve                  serve, from now on
//                                        serve PID SIGNAL       the same, after a worker that has died
//   worker to supervisor                 notify STATE           pass on to systemd; line feeds are tabs
//                                        successor PID          a process that this one has started serves from now on
//                                        ended PID CODE         the last words of a worker that ends by itself

namespace Polyblk.Host.Daemon.Standby;

/// <summary>The words of these lines.</summary>
internal static class WorkerLines
{
    public const string Serve = "serve";
    public const string Notify = "notify";
    public const string Successor = "successor";
    public const string Ended = "ended";

    /// <summary>Puts a line together.</summary>
    public static string Make(string word, string rest) => $"{word} {rest.Replace('\n', '\t')}";

    /// <summary>Takes a line apart; a word that is not known stands for a line of somebody else.</summary>
    public static (string Word, string What) Parse(string line)
    {
        int space = line.IndexOf(' ', StringComparison.Ordinal);
        return space < 0 ? (line, string.Empty) : (line[..space], line[(space + 1)..].Replace('\t', '\n'));
    }
}
