using System.Diagnostics;
using System.Threading.Channels;

namespace Polyblk.Host.Daemon.Standby;

/// <summary>A process that waits for the word to serve.</summary>
internal sealed class Worker
{
    private readonly Process _process;
    private readonly ChannelWriter<Happening> _told;

    private Worker(Process process, ChannelWriter<Happening> told)
    {
        _process = process;
        _told = told;
        Pid = process.Id;
        _ = Task.Run(ListenAsync);
        _ = Task.Run(AwaitEndAsync);
    }

    /// <summary>Its process.</summary>
    public int Pid { get; }

    /// <summary>Whether it waits for the word.</summary>
    public bool IsStanding { get; set; }

    /// <summary>Starts one.</summary>
    /// <param name="start">How.</param>
    /// <param name="told">What it says, and its end.</param>
    /// <exception cref="RefusalException">The program cannot be started.</exception>
    public static Worker Start(ProcessStartInfo start, ChannelWriter<Happening> told)
    {
        start.RedirectStandardInput = true;
        start.RedirectStandardOutput = true;
        return new Worker(ChildProcess.Start(start), told);
    }

    /// <summary>Says something; one that has ended does not hear it.</summary>
    public void Say(string line)
    {
        try
        {
            _process.StandardInput.WriteLine(line);
            _process.StandardInput.Flush();
        }
        catch (IOException)
        {
            // Its end is told by itself.
        }
    }

    /// <summary>Ends one that has not got the word: it has opened nothing.</summary>
    public void Kill() => _process.Kill();

    private async Task ListenAsync()
    {
        while (await _process.StandardOutput.ReadLineAsync().ConfigureAwait(false) is string line)
        {
            _told.TryWrite(new Happening(HappeningKind.Line, Pid, Text: line, Source: this));
        }
    }

    private async Task AwaitEndAsync()
    {
        await _process.WaitForExitAsync().ConfigureAwait(false);
        _told.TryWrite(new Happening(HappeningKind.End, Pid, _process.ExitCode));
    }
}
