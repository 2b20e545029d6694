// Programs of the administrator that are told of events: in order, within their time, and none that another user could have put
// there.

using System.Diagnostics;
using System.Text.Json;
using Microsoft.Extensions.Logging;
using Polyblk.Core.Interop;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using EventLog = Polyblk.Host.Events.EventLog;

namespace Polyblk.Cli.Tests;

public sealed class HookTests : IDisposable
{
    private const UnixFileMode Program = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    private static readonly TimeSpan s_tooLong = TimeSpan.FromSeconds(60);

    private readonly string _directory = Directory.CreateTempSubdirectory("pbh").FullName;
    private readonly LogLines _log = new();

    public HookTests()
    {
        Directory.CreateDirectory(Hooks, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }

    private string Hooks => Path.Combine(_directory, "hooks.d");

    private string Out => Path.Combine(_directory, "out");

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task EachIsToldOfEachEventInOrderByItsInputAndItsEnvironment()
    {
        Write("10-json", $"cat >>{Out}.json; echo >>{Out}.json");
        Write("20-env", $"echo \"$POLYBLK_EVENT_SEQUENCE $POLYBLK_EVENT_KIND $POLYBLK_EVENT_DRIVE_SERIAL $HOME\" >>{Out}.env");
        await using (var runner = new HookRunner(new HookOptions(Hooks) { EndLimit = s_tooLong }, _log))
        {
            for (int i = 1; i <= 20; i++)
            {
                runner.Run(Make(i));
            }
        }

        EventJson[] told =
            [.. File.ReadLines(Out + ".json").Select(l => JsonSerializer.Deserialize(l, EventLineJson.Default.EventJson)!)];
        Assert.Equal(Enumerable.Range(1, 20).Select(i => Make(i)), told);
        Assert.Equal(Enumerable.Range(1, 20).Select(i => $"{i} member-failed S-1 "), File.ReadLines(Out + ".env"));
        Assert.Empty(_log.Texts);
    }

    /// <summary>What is no file of ours is not run: who may write to it could run what he likes as us.</summary>
    [Fact]
    public async Task OnlyWhatNobodyElseCanChangeIsRun()
    {
        Write("good", $"echo good >>{Out}");
        Write("group", $"echo group >>{Out}", Program | UnixFileMode.GroupWrite);
        Write("world", $"echo world >>{Out}", Program | UnixFileMode.OtherWrite);
        Write("README", $"echo readme >>{Out}", UnixFileMode.UserRead | UnixFileMode.UserWrite);
        File.CreateSymbolicLink(Path.Combine(Hooks, "link"), Write("../elsewhere", $"echo link >>{Out}"));
        Directory.CreateDirectory(Path.Combine(Hooks, "folder"));
        await RunAsync(new HookOptions(Hooks), Make(1), Make(2));
        Assert.Equal(["good", "good"], File.ReadLines(Out));
        Assert.Equal(
            [
                $"The hook {Hooks}/group is not run: others than its owner may write to it",
                $"The hook {Hooks}/world is not run: others than its owner may write to it",
            ],
            _log.Texts);

        File.SetUnixFileMode(Hooks, Program | UnixFileMode.OtherWrite);
        await RunAsync(new HookOptions(Hooks), Make(3));
        Assert.Equal(2, File.ReadLines(Out).Count());
        Assert.Contains(_log.Texts, t => t == $"The hook {Hooks} is not run: others than its owner may write to it");
    }

    [Fact]
    public void AnotherUsersFileIsNoHook()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "only root can give a file away");
        string file = Write("theirs", "true");
        Assert.Equal(0, Libc.chown(file, 12345, 12345));
        Assert.Equal("it belongs to another user", HookRunner.ProblemOf(file, out bool isHook));
        Assert.True(isHook);
    }

    /// <summary>One that hangs is ended with what it started, and others do not wait for it.</summary>
    [Fact]
    public async Task OneThatHangsIsEndedWithAllThatItStarted()
    {
        Write("10-hangs", $"sleep 1000 & echo $! >>{Out}.child; wait");
        Write("20-works", $"echo $POLYBLK_EVENT_SEQUENCE >>{Out}");
        var options = new HookOptions(Hooks) { TimeLimit = TimeSpan.FromMilliseconds(500), EndLimit = s_tooLong };
        await using (var runner = new HookRunner(options, _log))
        {
            runner.Run(Make(1));
            runner.Run(Make(2));
            await WaitAsync(() => File.Exists(Out) && File.ReadAllText(Out) == "1\n2\n");
        }

        string[] children = File.ReadAllLines(Out + ".child");
        Assert.Equal(2, children.Length);

        // Killed with the group; nobody here waits for them.
        foreach (string child in children)
        {
            await WaitAsync(() => !Lives(child));
        }

        Assert.Equal(2, _log.Texts.Count(t => t.Contains("10-hangs took longer than 0.5 s", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task TheEndDoesNotWaitForOneThatHangs()
    {
        Write("hangs", $"echo $$ >>{Out}; trap '' TERM; sleep 1000");
        var runner = new HookRunner(new HookOptions(Hooks) { EndLimit = TimeSpan.FromMilliseconds(200) }, _log);
        runner.Run(Make(1));
        await WaitAsync(() => File.Exists(Out) && new FileInfo(Out).Length > 0);
        long began = Stopwatch.GetTimestamp();
        await runner.DisposeAsync().AsTask().WaitAsync(s_tooLong);
        Assert.True(Stopwatch.GetElapsedTime(began) < TimeSpan.FromSeconds(20), "the end waited");
        await WaitAsync(() => !Lives(File.ReadAllText(Out).Trim()));
    }

    [Fact]
    public async Task OneThatDoesNotKeepUpLosesEventsWhichIsSaid()
    {
        string gate = Path.Combine(_directory, "gate");
        Write("slow", $"while [ ! -e {gate} ]; do sleep 0.02; done; echo $POLYBLK_EVENT_SEQUENCE >>{Out}");
        await using (var runner = new HookRunner(new HookOptions(Hooks) { MostWaiting = 3, EndLimit = s_tooLong }, _log))
        {
            runner.Run(Make(1));
            await WaitAsync(() => runner.IsRunning(Path.Combine(Hooks, "slow")));
            for (int i = 2; i <= 10; i++)
            {
                runner.Run(Make(i));
            }

            File.WriteAllText(gate, "");
        }

        Assert.Equal(["1", "2", "3", "4"], File.ReadLines(Out));
        Assert.Contains(_log.Texts, t => t.Contains("was not told of 6 events", StringComparison.Ordinal));
    }

    [Fact]
    public async Task WhatItSaysIsOneBoundedLineOfTheLog()
    {
        Write("talks", "printf 'a\\nERR b \\033[2J'; head -c 100000 /dev/zero | tr '\\0' x; exit 3");
        await RunAsync(new HookOptions(Hooks), Make(1));
        string said = _log.Texts.Single(t => t.Contains(" says: ", StringComparison.Ordinal));
        Assert.Contains(@"says: a\nERR b \x1b[2Jxxx", said, StringComparison.Ordinal);
        Assert.Contains("bytes more)", said, StringComparison.Ordinal);
        Assert.InRange(said.Length, 100, 3000);
        Assert.Contains(_log.Texts, t => t.EndsWith("ended with the status 3", StringComparison.Ordinal));
    }

    /// <summary>Hooks hear of each once, the log of the trouble once, and the store of their number when it works
    /// again.</summary>
    [Fact]
    public async Task WhatCannotBeKeptIsToldAllTheSameAndCountedWhenThatIsPossible()
    {
        Write("all", $"echo $POLYBLK_EVENT_SEQUENCE $POLYBLK_EVENT_KIND >>{Out}");
        var directories = new StateDirectories(_directory, Path.Combine(_directory, "run"));
        var store = new EventStore(directories);
        File.WriteAllText(store.Folder, "where the folder would be");
        var runner = new HookRunner(new HookOptions(Hooks) { EndLimit = s_tooLong }, _log);
        await using (var log = new EventLog(store, _log, runner))
        {
            for (int i = 1; i <= 3; i++)
            {
                log.Add(Make(0));
                await WaitAsync(() => File.Exists(Out) && File.ReadAllText(Out).Count(c => c == '\n') == i);
            }

            File.Delete(store.Folder);
            log.Add(Make(0));
            await WaitAsync(() => File.ReadAllText(Out).Count(c => c == '\n') == 5);
        }

        const string Unkept = "0 member-failed";
        Assert.Equal([Unkept, Unkept, Unkept, "1 member-failed", "2 events-lost"], File.ReadLines(Out));
        Assert.Equal([null, 3L], store.Read().Select(e => e.Count));
        Assert.Equal(2, _log.Texts.Length);
        Assert.Contains(store.Folder, _log.Texts[0], StringComparison.Ordinal);
        Assert.StartsWith("3 events could not be kept", _log.Texts[1], StringComparison.Ordinal);
    }

    /// <summary>A succession or an end costs events that wait for a hook, and the log says how many.</summary>
    [Fact]
    public async Task WhatWaitsAtTheEndIsSaidWithItsNumberAndNothingComesAfter()
    {
        Write("slow", $"echo $POLYBLK_EVENT_SEQUENCE >>{Out}; exec sleep 1000");
        var runner = new HookRunner(new HookOptions(Hooks) { EndLimit = TimeSpan.FromMilliseconds(200) }, _log);
        runner.Run(Make(1));
        await WaitAsync(() => File.Exists(Out) && new FileInfo(Out).Length > 0);
        runner.Run(Make(2));
        runner.Run(Make(3));
        await runner.DisposeAsync();
        runner.Run(Make(4));
        await WaitAsync(() => _log.Texts.Any(t => t.EndsWith("slow was not told of 2 events: the end came first", StringComparison.Ordinal)));
        Assert.Equal(["1"], File.ReadLines(Out));
    }

    [Fact]
    public async Task OneThatIsNoProgramIsSaid()
    {
        File.WriteAllText(Path.Combine(Hooks, "none"), "#!/nothing/is/here\n");
        File.SetUnixFileMode(Path.Combine(Hooks, "none"), Program);
        await RunAsync(new HookOptions(Hooks), Make(1));
        Assert.Contains(_log.Texts, t => t.Contains("none could not be run", StringComparison.Ordinal));
    }

    private async Task RunAsync(HookOptions options, params EventJson[] events)
    {
        await using var runner = new HookRunner(options with { EndLimit = s_tooLong }, _log);
        Array.ForEach(events, runner.Run);
    }

    private static EventJson Make(long sequence) => new()
    {
        Sequence = sequence,
        Kind = "member-failed",
        Volume = "data",
        Message = "It failed; rm -rf / `x` $(x)",
        Drive = new DriveJson("/dev/a") { Serial = "S-1" },
    };

    private string Write(string name, string script, UnixFileMode mode = Program)
    {
        string path = Path.GetFullPath(Path.Combine(Hooks, name));
        File.WriteAllText(path, $"#!/bin/sh\n{script}\n");
        File.SetUnixFileMode(path, mode);
        return path;
    }

    /// <summary>Whether a process is there, and is not just waiting to be reaped by whoever.</summary>
    private static bool Lives(string id)
    {
        try
        {
            string text = File.ReadAllText($"/proc/{id}/stat");
            return text[text.LastIndexOf(')') + 2] != 'Z';
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private static async Task WaitAsync(Func<bool> condition)
    {
        for (long began = Stopwatch.GetTimestamp(); !condition();)
        {
            Assert.True(Stopwatch.GetElapsedTime(began) < s_tooLong, "waited in vain");
            await Task.Delay(10);
        }
    }

}
