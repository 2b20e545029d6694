// A daemon and its volumes on scratch files, with the program at a place of its own, where an upgrade can put another.

using System.Diagnostics;
using System.Text.Json;
using Polyblk.GuestRig;
using Polyblk.Host.State;

namespace Polyblk.Volumes.Tests;

/// <summary>A daemon that is upgraded and killed; disposing ends it and all that belongs to it.</summary>
internal sealed class TestDaemon : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(2);

    private readonly TestState _state = new();
    private readonly StateDirectories _directories;
    private readonly string _installed;

    public TestDaemon()
    {
        _directories = new StateDirectories(Path.Combine(_state.Folder, "state"), Runtime);
        _installed = Path.Combine(_state.Folder, "installed");
        Install();
        _state.Words =
            [.. RigPaths.PolyblkWords.Select(w => w.Replace(RigPaths.ProgramFolder, _installed, StringComparison.Ordinal))];
    }

    /// <summary>Starts it, and returns when it answers.</summary>
    public void Start()
    {
        Process daemon = _state.Start(["daemon"]);
        if (!SpinWait.SpinUntil(() => daemon.HasExited || Answers(), s_patience) || daemon.HasExited)
        {
            throw new InvalidOperationException($"The daemon does not answer: {_state.Log}");
        }

        bool Answers() => File.Exists(Path.Combine(Runtime, StateDirectories.Daemon, "api.sock"));
    }

    /// <summary>Makes a raid5 of three files and a vhost-user export of it.</summary>
    /// <returns>The export's socket.</returns>
    public string Serve(string volume, long memberBytes, params string[] options)
    {
        IEnumerable<string> drives =
            Enumerable.Range(0, 3).Select(i => $"file:{Path.Combine(_state.Folder, $"{volume}{i}")},size={memberBytes}B");
        _state.Run(["volume", "create", volume, "--level", "raid5", .. options, .. drives]);
        string socket = Path.Combine(_state.Folder, $"{volume}.sock");
        _state.Run(["export", "add", volume, "--frontend", "vhost-user", "--socket", socket, "--queues", "2"]);
        return socket;
    }

    /// <summary>
    /// Puts the program in the place of the one that is installed, as a package manager does, and has it succeed the daemon.
    /// </summary>
    /// <returns>The process that was succeeded, and its successor.</returns>
    public (int Before, int After) Upgrade()
    {
        int before = Holder(StateDirectories.Daemon);
        Install();
        _state.Run(["daemon", "restart"]);
        return (before, Another(() => Holder(StateDirectories.Daemon), before));
    }

    /// <summary>Kills the process that serves a volume, and waits for another in its place.</summary>
    public void Kill(string volume)
    {
        int before = ProcessOf(volume);
        using Process process = Process.GetProcessById(before);
        process.Kill();
        Another(() => ProcessOf(volume), before);
    }

    /// <summary>Whether the file that the process was started from has been replaced since.</summary>
    public static bool RunsWhatWasReplaced(int process) =>
        File.ResolveLinkTarget($"/proc/{process}/exe", returnFinalTarget: false)!.FullName
            .EndsWith(" (deleted)", StringComparison.Ordinal);

    public void Dispose()
    {
        foreach (string folder in Directory.GetDirectories(Runtime))
        {
            // A successor is no child of this process.
            if (Holder(Path.GetFileName(folder)) is not 0 and int process)
            {
                Process.Start("kill", ["-KILL", $"{process}"]).WaitForExit();
            }
        }

        _state.Dispose();
    }

    private string Runtime => Path.Combine(_state.Folder, "state", "run");

    /// <summary>Puts a copy of the program where it is installed, under the name of the one that may be running.</summary>
    private void Install()
    {
        foreach (string file in Directory.GetFiles(RigPaths.ProgramFolder))
        {
            string target = Path.Combine(_installed, Path.GetFileName(file));
            Directory.CreateDirectory(_installed);
            File.Copy(file, target + ".new");
            File.Move(target + ".new", target, overwrite: true);
        }
    }

    /// <summary>The process that serves a volume; 0 for nobody.</summary>
    private int ProcessOf(string volume)
    {
        JsonElement shown = JsonDocument.Parse(_state.Run(["volume", "show", volume, "--json"])).RootElement;
        return shown.TryGetProperty("live", out JsonElement live) ? live.GetProperty("pid").GetInt32() : 0;
    }

    /// <summary>The process that holds a place; 0 for nobody.</summary>
    private int Holder(string place) => VolumeLock.Holder(_directories, place) ?? 0;

    private static int Another(Func<int> find, int before)
    {
        int now = 0;
        bool IsAnother()
        {
            now = find();
            return now != 0 && now != before;
        }

        return SpinWait.SpinUntil(IsAnother, s_patience)
            ? now : throw new InvalidOperationException($"Nobody follows process {before}.");
    }
}
