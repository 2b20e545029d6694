// Children that end with this process, however it ends.
//
// prctl(PR_SET_PDEATHSIG), here by util-linux's setpriv before the program, lets the kernel send a child SIGTERM when its parent
// has gone. "Parent" is the thread that forked (prctl(2)), and threads of the pool come and go: all children are started by one
// thread that stays. What a child starts itself is not bound; what survives all the same is found by the next comparison
// (compare/Methods/Leftovers.cs).

using System.Collections.Concurrent;
using System.Diagnostics;
using Polyblk.Core.Interop;

namespace Polyblk.Machine;

/// <summary>Starts programs that get SIGTERM when this process has ended.</summary>
public static class BoundProcess
{
    private static readonly BlockingCollection<Action> s_work = [];
    private static readonly Lazy<string?> s_setpriv = new(FindSetpriv);
    private static readonly Lazy<Thread> s_thread = new(StartThread);

    /// <summary>Starts it. Its program is looked up by <see cref="ProgramPath"/>.</summary>
    /// <exception cref="System.ComponentModel.Win32Exception">It cannot be started.</exception>
    public static Process Start(ProcessStartInfo start)
    {
        ArgumentNullException.ThrowIfNull(start);
        Bind(start);
        _ = s_thread.Value;
        var started = new TaskCompletionSource<Process>(TaskCreationOptions.RunContinuationsAsynchronously);
        s_work.Add(() =>
        {
            try
            {
                started.SetResult(Process.Start(start)!);
            }
            catch (System.ComponentModel.Win32Exception e)
            {
                started.SetException(e);
            }
        });
        return started.Task.GetAwaiter().GetResult();
    }

    /// <summary>Puts setpriv, where it is installed, before the program. It becomes the program: the process id stays.</summary>
    private static void Bind(ProcessStartInfo start)
    {
        string program = ProgramPath.TryFind(start.FileName) ?? start.FileName;
        if (s_setpriv.Value is not string setpriv || !File.Exists(program))
        {
            start.FileName = program;
            return;
        }

        string[] arguments = ["--pdeathsig", "TERM", program, .. start.ArgumentList];
        start.FileName = setpriv;
        start.ArgumentList.Clear();
        Array.ForEach(arguments, start.ArgumentList.Add);
    }

    /// <summary>Busybox's has no such option.</summary>
    private static string? FindSetpriv() =>
        ProgramPath.TryFind("setpriv") is string path && !Path.GetFileName(new FileInfo(path).ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? path).Contains("busybox", StringComparison.Ordinal)
            ? path : null;

    private static Thread StartThread()
    {
        var thread = new Thread(() =>
        {
            foreach (Action work in s_work.GetConsumingEnumerable())
            {
                work();
            }
        })
        { IsBackground = true, Name = "process starter" };
        thread.Start();
        return thread;
    }
}
