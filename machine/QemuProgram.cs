// What all machines have in common: how QEMU is started and supervised, and how its end is judged.

using System.Diagnostics;
using System.Globalization;

namespace Polyblk.Machine;

/// <summary>
/// QEMU below its supervisor: timeout(1), so that a machine that hangs ends some time, and so that a terminal's Ctrl-C does not
/// reach it.
/// </summary>
internal static class QemuProgram
{
    /// <summary>timeout(1) ends with this and the number of the signal that ended its child.</summary>
    private const int SignalStatus = 128;
    private const int Abort = 6;
    private const int SegmentationFault = 11;

    /// <summary>How a kernel's last words begin that came to a breakpoint of nobody (x86).</summary>
    private const string Breakpoint = "Oops: int3";

    /// <summary>
    /// What a kernel says, and panics, that saw no tick of its timer in the few milliseconds in which it tries it (x86,
    /// check_timer in io_apic.c).
    /// </summary>
    private const string NoTick = "IO-APIC + timer doesn't work";

    /// <summary>
    /// What a kernel says, every 20 seconds and more, of a processor whose timer is dead (rcu/tree_stall.h): what runs there
    /// sleeps for ever. The emulator loses a timer now and then.
    /// </summary>
    private const string DeadTimer = "kthread timer wakeup didn't happen for";

    /// <summary>
    /// The words of every kernel's command line: the console is the serial port, a panic ends QEMU, and the timer is not tried
    /// (no_timer_check; the kernel leaves the trial out by itself on hypervisors that it knows). QEMU's timer works; but on a
    /// host with other work to do its first tick comes too late for that trial.
    /// </summary>
    public const string KernelArguments = "console=ttyS0 quiet panic=-1 no_timer_check";

    /// <summary>
    /// Without the flags for fast string instructions: the emulator does REP STOSB and REP MOVSB byte by byte, and a kernel that
    /// takes them for fast clears and copies every page with them. Without them it uses wide moves, and programs start in three
    /// quarters of the time.
    /// </summary>
    private const string EmulatedCpu = "max,erms=off,fsrm=off";

    /// <summary>How much slower a machine may be by the clock than by what it had of the processors.</summary>
    private const int BusyHostFactor = 4;

    /// <summary>How long the supervisor waits after the limit, in which a machine is ended and its end explained.</summary>
    private const int GraceSeconds = 30;

    /// <summary>The command with its streams redirected.</summary>
    /// <param name="hostCpus">The host's processors that QEMU may use; none: all.</param>
    /// <param name="limit">How long the machine may run.</param>
    /// <param name="arguments">QEMU's.</param>
    /// <exception cref="MachineException">A program is not installed.</exception>
    public static ProcessStartInfo Command(IReadOnlyList<int> hostCpus, TimeSpan limit, IEnumerable<string> arguments)
    {
        string[] pinned = hostCpus.Count == 0 ? [] : [HostProgram.Find("taskset"), "-c", string.Join(',', hostCpus)];
        string seconds = ((int)limit.TotalSeconds + GraceSeconds).ToString(CultureInfo.InvariantCulture);
        string[] command = [.. pinned, "timeout", "-k", "5", seconds, HostProgram.Find("qemu-system-x86_64"), .. arguments];
        return new ProcessStartInfo(command[0], command.Skip(1))
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
    }

    /// <summary>
    /// The arguments of a machine without devices, its serial console on QEMU's output. Its memory is shared, as vhost-user
    /// needs.
    /// </summary>
    /// <param name="memoryBackend">QEMU's object, without id and size.</param>
    /// <param name="memoryMib">Memory in MiB.</param>
    /// <param name="cpus">Virtual processors.</param>
    public static IEnumerable<string> Machine(string memoryBackend, int memoryMib, int cpus)
    {
        (string accelerator, string processor) = MachineCache.IsEmulated() ? ("tcg,thread=multi", EmulatedCpu) : (MachineCache.Accelerator(), "max");
        return
        [
            "-M", "q35,memory-backend=mem", "-object", $"{memoryBackend},id=mem,size={memoryMib}M,share=on",
            "-m", $"{memoryMib}M", "-accel", accelerator, "-cpu", processor,
            "-smp", cpus.ToString(CultureInfo.InvariantCulture), "-nodefaults", "-no-user-config",
            "-display", "none", "-no-reboot", "-serial", "stdio",
        ];
    }

    /// <summary>
    /// QEMU's own process id, or null when it has ended: the supervisor's child (proc(5), /proc/pid/task/tid/children), or the
    /// supervisor itself. Busybox's timeout, which machines have, becomes the program that it starts, and watches it from a
    /// process of its own.
    /// </summary>
    public static int? ProcessIdBelow(Process supervisor) => ProcessIdBelow(supervisor.Id, "/proc");

    internal static int? ProcessIdBelow(int supervisor, string proc)
    {
        string own = Path.Combine(proc, supervisor.ToString(CultureInfo.InvariantCulture));
        return int.TryParse(TryRead($"{own}/task/{supervisor}/children").Split(' ')[0], out int child) ? child
            : TryRead($"{own}/comm").StartsWith("qemu-system", StringComparison.Ordinal) ? supervisor
            : null;
    }

    /// <summary>How much of the processors a process has had; nothing where it has ended.</summary>
    public static TimeSpan ProcessorTime(int? process)
    {
        try
        {
            using Process? found = process is int id ? Process.GetProcessById(id) : null;
            return found?.TotalProcessorTime ?? TimeSpan.Zero;
        }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException or System.ComponentModel.Win32Exception)
        {
            return TimeSpan.Zero; // it ended meanwhile
        }
    }

    /// <summary>
    /// Whether a machine has had its time: of the processors, since on a busy host it may get little of them; or several times as
    /// long by the clock, for one that does nothing at all.
    /// </summary>
    /// <param name="limit">Its time.</param>
    /// <param name="used">What it had of the processors.</param>
    /// <param name="elapsed">What went by.</param>
    public static bool IsOver(TimeSpan limit, TimeSpan used, TimeSpan elapsed) => used >= limit || elapsed >= limit * BusyHostFactor;

    private static string TryRead(string file)
    {
        try
        {
            return File.Exists(file) ? File.ReadAllText(file).Trim() : "";
        }
        catch (IOException)
        {
            return ""; // the process ended meanwhile
        }
    }

    /// <summary>
    /// The kernel's arguments, after a space, where processors are emulated.
    /// <para>maxcpus=1: it boots on one, and init switches on the others. A kernel patches its own code, mostly while it boots, and
    /// the emulator with several threads can lose such a patch: another processor that comes to the code between the emulator's
    /// discarding what it had translated and the store translates the old bytes again, and keeps them.</para>
    /// <para>lpj: a processor that is switched on later is timed with busy loops, for more than a second each, unless its time
    /// stamp counter promises a constant rate, which an emulated one does not. The number is what 3 GHz come to at 250 ticks a
    /// second; it decides how long drivers wait for their devices, and emulated devices need no time.</para>
    /// <para>cryptomgr.notests: algorithms are not held against known answers.</para>
    /// </summary>
    public static string ArgumentsOfEmulated() => MachineCache.IsEmulated() ? " maxcpus=1 lpj=12000000 cryptomgr.notests" : "";

    /// <summary>
    /// Whether a machine that ended has broken down by itself: QEMU ended by a signal; the kernel died of a breakpoint, which
    /// nobody sets but the kernel while it patches its code, and which is gone before a processor can come to it, other than in
    /// an emulator that lost the patch; the kernel of an image, whose command line is not ours, saw no tick of its timer; or one
    /// of its processors had none any more.
    /// </summary>
    /// <param name="exitCode">That of QEMU's supervisor.</param>
    /// <param name="console">All that the kernel said.</param>
    public static bool IsBreakdown(int exitCode, string console) =>
        exitCode is SignalStatus + Abort or SignalStatus + SegmentationFault
        || console.Contains(Breakpoint, StringComparison.Ordinal) || console.Contains(NoTick, StringComparison.Ordinal)
        || IsDead(console);

    /// <summary>Whether a machine that goes on will come to nothing: the timer of one of its processors is dead.</summary>
    /// <param name="console">All that the kernel has said.</param>
    public static bool IsDead(string console) => console.Contains(DeadTimer, StringComparison.Ordinal);
}
