// libc: what a signal handler of our own needs (sigaction).

using Tmds.Linux;

namespace Polyblk.Core.Interop;

public static unsafe partial class Libc
{
    public static int SIGHUP => LibC.SIGHUP;
    public static int SIGINT => LibC.SIGINT;
    public static int SIGKILL => LibC.SIGKILL;
    public static int SIGTERM => LibC.SIGTERM;
    public static int SIGBUS => LibC.SIGBUS;
    public static int SA_SIGINFO => LibC.SA_SIGINFO;
    public static int SA_ONSTACK => LibC.SA_ONSTACK;
    public static int SA_RESTART => LibC.SA_RESTART;

    /// <summary>Sets (when not null) and reads (when not null) what a signal does.</summary>
    public static int set_sigaction(int signal, sigaction* action, sigaction* old) => Result(LibC.sigaction(signal, action, old));
}
