// What passes between a supervisor and its workers, a line each:
//
//   supervisor to worker     serve                  serve, from now on
//                            serve PID SIGNAL       the same, after a worker that has died
//                            heard                  what was said last is known: go on
//
//   worker to supervisor     standing PID           it has started, and waits for the word
//                            serving PID            it has the daemon's place
//                            notify STATE           pass on to systemd; line feeds are tabs
//                            giving PID             that process takes over from this one, as long as both live
//                            kept                   it has not taken over
//                            successor PID          it has: it serves from now on
//                            ended PID CODE         the last words of a worker that ends by itself
//
// A worker waits for "heard" after the last two: so its end is never known before them.

namespace Polyblk.Host.Daemon.Standby;

/// <summary>The words of these lines.</summary>
internal static class WorkerLines
{
    public const string Serve = "serve";
    public const string Heard = "heard";
    public const string Standing = "standing";
    public const string Serving = "serving";
    public const string Notify = "notify";
    public const string Giving = "giving";
    public const string Kept = "kept";
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
