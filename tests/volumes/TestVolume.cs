// A volume on scratch files, made and served by the real program, as a user would from a shell.

using System.Diagnostics;
using System.Text.Json;

namespace Polyblk.Volumes.Tests;

/// <summary>What else is served besides the socket.</summary>
internal enum Second
{
    None,
    Writable,
    ReadOnly,
}

/// <summary>A volume with its own state folder; disposing ends its server and removes everything.</summary>
internal sealed class TestVolume : IDisposable
{
    public const string Name = "vol";

    /// <summary>Where a member's data begins: the space before it holds the superblocks.</summary>
    public const long DataOffset = 1 << 20;

    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    private readonly TestState _state = new();
    private Process? _server;
    private string? _ready;

    /// <summary>
    /// Makes a volume of sparse files; <paramref name="size"/> is what it shows, if that is less than the files give.
    /// </summary>
    public TestVolume(string level, int members, long memberBytes, string chunk = "64KiB", string? size = null)
    {
        Members = [.. Enumerable.Range(0, members).Select(i => Path.Combine(_state.Folder, $"member{i}"))];
        string[] striping = level == "raid1" ? [] : ["--chunk", chunk];
        string[] less = size is null ? [] : ["--size", size];
        Run(["volume", "create", Name, "--level", level, .. striping, .. less, .. Members.Select(m => $"file:{m},size={memberBytes}B")]);
    }

    /// <summary>Paths of the members, by role.</summary>
    public IReadOnlyList<string> Members { get; }

    /// <summary>The vhost-user socket; the same after every restart.</summary>
    public string Socket => Path.Combine(_state.Folder, "vol.sock");

    /// <summary>A second vhost-user socket of the same volume.</summary>
    public string SecondSocket => Path.Combine(_state.Folder, "second.sock");

    /// <summary>The arguments by which QEMU attaches the first socket, as <c>serve</c> prints them.</summary>
    public string[] QemuArguments =>
    [
        .. JsonDocument.Parse(_ready!).RootElement.GetProperty("exports")[0].GetProperty("attach").EnumerateArray()
            .First(a => a.GetProperty("consumer").GetString() == "qemu").GetProperty("arguments").EnumerateArray().Select(a => a.GetString()!),
    ];

    /// <summary>
    /// Serves the volume over vhost-user and returns when a client can connect. Without a number of queues, as many as there can
    /// be.
    /// </summary>
    public void Serve(int? queues = 2, Second second = Second.None, bool allowDegraded = false)
    {
        File.Delete(Socket);
        File.Delete(SecondSocket);
        string[] offered = queues is null ? [] : ["--queues", $"{queues}"];
        List<string> arguments = ["serve", Name, "--frontend", "vhost-user", "--socket", Socket, .. offered];
        if (second != Second.None)
        {
            arguments.AddRange(["--frontend", "vhost-user", "--socket", SecondSocket, .. offered]);
        }

        if (second == Second.ReadOnly)
        {
            arguments.Add("--read-only");
        }

        if (allowDegraded)
        {
            arguments.Add("--allow-degraded");
        }

        arguments.Add("--json");
        _ready = null;
        _server = _state.Start(arguments, line => Interlocked.CompareExchange(ref _ready, line, null));
        bool IsServed() => Volatile.Read(ref _ready) is not null && File.Exists(Socket) && (second == Second.None || File.Exists(SecondSocket));
        if (!SpinWait.SpinUntil(() => IsServed() || _server.HasExited, Patience) || _server.HasExited)
        {
            throw new InvalidOperationException($"The volume is not served: {_state.Log}");
        }
    }

    /// <summary>Ends the server in order, as a service manager would, and returns its exit status.</summary>
    public int Stop()
    {
        Process.Start("kill", ["-TERM", $"{_server!.Id}"]).WaitForExit();
        if (!_server.WaitForExit(Patience))
        {
            throw new InvalidOperationException($"The server did not end: {_state.Log}");
        }

        return _server.ExitCode;
    }

    /// <summary>
    /// Waits until the array is in sync again after a server was killed: only then may it lose a drive without a doubt about what
    /// was being written.
    /// </summary>
    public void WaitForResync()
    {
        bool IsOptimal() => JsonDocument.Parse(Run(["volume", "show", Name, "--json"])).RootElement.GetProperty("array").GetProperty("health").GetString() == "optimal";
        if (!SpinWait.SpinUntil(IsOptimal, Patience))
        {
            throw new InvalidOperationException($"The resync does not end: {_state.Log}");
        }
    }

    /// <summary>The server stands still from now on: what is asked of it stays in flight until it is killed.</summary>
    public void FreezeServer() => Process.Start("kill", ["-STOP", $"{_server!.Id}"]).WaitForExit();

    /// <summary>Kills the server without warning.</summary>
    public void KillServer()
    {
        _server!.Kill();
        _server.WaitForExit();
    }

    /// <summary>Runs a command of polyblk to its end and returns what it printed.</summary>
    public string Run(IEnumerable<string> arguments) => _state.Run(arguments);

    public void Dispose() => _state.Dispose();
}
