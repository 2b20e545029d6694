using System.Globalization;

namespace Polyblk.Host.Daemon.Standby;

/// <summary>A worker's side: what it hears from its supervisor, and tells it. The standard streams are theirs.</summary>
/// <param name="input">Where the word comes.</param>
/// <param name="output">Where the supervisor listens.</param>
public sealed class Supervision(TextReader input, TextWriter output)
{
    private readonly Lock _lock = new();

    /// <summary>The worker after which this one serves, in words; null where none has died.</summary>
    public string? Death { get; private set; }

    /// <summary>Waits for the word to serve.</summary>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>Whether it came; otherwise the supervisor has no use for this process, or has ended.</returns>
    public async Task<bool> WaitForWordAsync(CancellationToken cancellation)
    {
        string? line;
        try
        {
            // A pipe's read cannot be cancelled: the process ends with it.
            line = await Task.Run(input.ReadLine, CancellationToken.None).WaitAsync(cancellation).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            return false;
        }

        if (line is null || WorkerLines.Parse(line) is not (WorkerLines.Serve, string before))
        {
            return false;
        }

        if (before.Split(' ') is [string pid, string signal])
        {
            Death = $"process {pid}, " + (signal == "0" ? "no exit code" : $"signal {signal}");
        }

        return true;
    }

    /// <summary>Has the supervisor tell systemd.</summary>
    public void Notify(string state) => Write(WorkerLines.Make(WorkerLines.Notify, state));

    /// <summary>Tells of the process that serves from now on.</summary>
    public void TellSuccessor(int pid) => Write(WorkerLines.Make(WorkerLines.Successor, pid.ToString(CultureInfo.InvariantCulture)));

    /// <summary>Tells that this process ends by itself.</summary>
    public void TellEnd(int code) =>
        Write(WorkerLines.Make(WorkerLines.Ended, string.Create(CultureInfo.InvariantCulture, $"{Environment.ProcessId} {code}")));

    private void Write(string line)
    {
        try
        {
            lock (_lock)
            {
                output.WriteLine(line);
                output.Flush();
            }
        }
        catch (IOException)
        {
            // The supervisor is gone; the volumes are served on.
        }
    }
}
