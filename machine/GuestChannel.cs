// The control channel of a guest: lines in both directions over any stream. Of a running guest it is the socket of a
// virtio-serial port; a test plays the guest at the other end of a pair of streams.
//
// The script reports "CHECK name ok|failed [text]", "SIGNAL name [text]" and at last "EXIT status"; anything else goes to the
// log. What the host says to it is one line each, which its await takes.

using System.Globalization;
using System.Text;

namespace Polyblk.Machine;

/// <summary>What a guest reported so far, and the way to it. Any thread.</summary>
/// <param name="log">Takes lines that are no report.</param>
internal sealed class GuestChannel(Action<string> log) : IAsyncDisposable
{
    private readonly TaskCompletionSource<Stream> _stream = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _gate = new();
    private readonly List<GuestCheck> _checks = [];
    private readonly List<string> _signals = [];
    private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>The checks that were reported.</summary>
    public IReadOnlyList<GuestCheck> Checks
    {
        get
        {
            lock (_gate) return [.. _checks];
        }
    }

    /// <summary>Takes over a connection and reads reports from it until the script ends.</summary>
    /// <returns>The script's status, or null when the connection ended without it.</returns>
    public async Task<int?> ReadAsync(Stream stream, CancellationToken cancellation)
    {
        _stream.TrySetResult(stream);
        using var reader = new StreamReader(stream, Encoding.UTF8, false, 4096, leaveOpen: true);
        while (await reader.ReadLineAsync(cancellation) is { } line)
        {
            string[] words = line.Split(' ', 4);
            if (words[0] == "EXIT" && words.Length > 1) return int.Parse(words[1], CultureInfo.InvariantCulture);
            Report(line, words);
        }

        return null;
    }

    /// <summary>Sends a line to the script, once there is a connection.</summary>
    /// <exception cref="OperationCanceledException">There is none any more: <see cref="End"/>.</exception>
    public async Task SendAsync(string line, CancellationToken cancellation)
    {
        Stream stream = await _stream.Task.WaitAsync(cancellation);
        await stream.WriteAsync(Encoding.UTF8.GetBytes(line + "\n"), cancellation);
    }

    /// <summary>Takes a signal with its text, if it has come: each is delivered once.</summary>
    /// <param name="name">The signal.</param>
    /// <param name="changed">Ends when something is reported after this look.</param>
    /// <returns>The text, or null when it has not come.</returns>
    public string? TryTakeSignal(string name, out Task changed)
    {
        lock (_gate)
        {
            changed = _changed.Task;
            int found = _signals.FindIndex(signal => signal == name || signal.StartsWith(name + " ", StringComparison.Ordinal));
            if (found < 0) return null;
            string text = _signals[found][name.Length..].TrimStart();
            _signals.RemoveAt(found);
            return text;
        }
    }

    /// <summary>There will be no connection: nobody waits for one any more.</summary>
    public void End() => _stream.TrySetCanceled();

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        End();
        if (_stream.Task.IsCompletedSuccessfully) await _stream.Task.Result.DisposeAsync();
    }

    private void Report(string line, string[] words)
    {
        bool isCheck = words[0] == "CHECK" && words.Length >= 3;
        bool isSignal = words[0] == "SIGNAL" && words.Length >= 2;
        if (!isCheck && !isSignal) log(line);
        TaskCompletionSource changed;
        lock (_gate)
        {
            if (isCheck) _checks.Add(new GuestCheck(words[1], words[2] == "ok", words.Length > 3 ? words[3] : ""));
            if (isSignal) _signals.Add(line["SIGNAL ".Length..]);
            changed = _changed;
            _changed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        changed.SetResult();
    }
}
