using System.Globalization;

namespace Polyblk.Host.Daemon.Standby;

/// <summary>A worker's side: what it hears from its supervisor, and tells it. The standard streams are theirs.</summary>
/// <param name="input">Where the supervisor speaks.</param>
/// <param name="output">Where it listens.</param>
public sealed class Supervision(TextReader input, TextWriter output)
{
    /// <summary>A supervisor that does not say that it has heard has something else to do, or is gone.</summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(2);

    private readonly Lock _lock = new();
    private bool _hasServed;

    /// <summary>The worker after which this one serves, in words; null where none has died.</summary>
    public string? Death { get; private set; }

    private static string Self => Environment.ProcessId.ToString(CultureInfo.InvariantCulture);

    /// <summary>Waits for the word to serve.</summary>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>Whether it came; otherwise the supervisor has no use for this process, or has ended.</returns>
    public async Task<bool> WaitForWordAsync(CancellationToken cancellation)
    {
        Write(WorkerLines.Make(WorkerLines.Standing, Self));
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

    /// <summary>Tells that this process has the daemon's place.</summary>
    public void TellServing()
    {
        _hasServed = true;
        Write(WorkerLines.Make(WorkerLines.Serving, Self));
    }

    /// <summary>Has the supervisor tell systemd.</summary>
    public void Notify(string state) => Write(WorkerLines.Make(WorkerLines.Notify, state));

    /// <summary>Tells of the process that is taking over; null where it has not.</summary>
    public void TellGiving(int? pid) =>
        Write(pid is int to ? WorkerLines.Make(WorkerLines.Giving, to.ToString(CultureInfo.InvariantCulture)) : WorkerLines.Kept);

    /// <summary>Tells of the process that serves from now on, and waits until that is known.</summary>
    public void TellSuccessor(int pid)
    {
        Write(WorkerLines.Make(WorkerLines.Successor, pid.ToString(CultureInfo.InvariantCulture)));
        WaitUntilHeard();
    }

    /// <summary>Tells that this process ends by itself, where it has served, and waits until that is known.</summary>
    public void TellEnd(int code)
    {
        if (_hasServed)
        {
            Write(WorkerLines.Make(WorkerLines.Ended, string.Create(CultureInfo.InvariantCulture, $"{Self} {code}")));
            WaitUntilHeard();
        }
    }

    private void WaitUntilHeard() => Task.Run(input.ReadLine).Wait(s_patience);

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
