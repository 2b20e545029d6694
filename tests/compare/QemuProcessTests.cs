using Polyblk.Machine;

namespace Polyblk.Compare.Tests;

/// <summary>
/// Which process is QEMU, below the two kinds of timeout(1), and which of its ends says nothing of what ran in it.
/// </summary>
public sealed class QemuProcessTests : IDisposable
{
    private readonly string _proc = Directory.CreateTempSubdirectory("polyblk-proc-").FullName;

    public void Dispose() => Directory.Delete(_proc, recursive: true);

    [Theory]
    [InlineData("timeout", "43 ", 43)] // coreutils: it waits for its child
    [InlineData("qemu-system-x86", "", 42)] // busybox: it has become the program
    [InlineData("timeout", "", null)]
    [InlineData(null, null, null)]
    public void It_is_the_supervisors_child_or_what_the_supervisor_became(string? name, string? children, int? qemu)
    {
        if (name is not null)
        {
            string task = Directory.CreateDirectory(Path.Combine(_proc, "42", "task", "42")).FullName;
            File.WriteAllText(Path.Combine(task, "children"), children);
            File.WriteAllText(Path.Combine(_proc, "42", "comm"), name + "\n");
        }

        Assert.Equal(qemu, QemuProgram.ProcessIdBelow(42, _proc));
    }

    [Theory]
    [InlineData(134, "", true)] // SIGABRT
    [InlineData(139, "", true)] // SIGSEGV
    [InlineData(0, "[    0.5] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI", true)]
    [InlineData(0, "[    0.9] Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug and send a report.", true)]
    [InlineData(124, "[   26.1] rcu: rcu_preempt kthread timer wakeup didn't happen for 5251 jiffies! g-1147 f0x0", true)]
    [InlineData(0, "Kernel panic - not syncing: Attempted to kill init!", false)]
    [InlineData(124, "", false)]
    public void A_machine_that_broke_down_by_itself_is_told_from_one_whose_work_failed(int status, string console, bool isBreakdown) =>
        Assert.Equal(isBreakdown, QemuProgram.IsBreakdown(status, console));

    /// <summary>On a busy host the first tick comes too late for the kernel's trial of its timer.</summary>
    [Fact]
    public void The_kernel_does_not_try_its_timer() => Assert.Contains("no_timer_check", QemuProgram.KernelArguments.Split(' '));

    /// <summary>A machine that got little of a busy host has time left; one that does nothing has not for ever.</summary>
    [Theory]
    [InlineData(0, 100, false)]
    [InlineData(0, 360, true)]
    [InlineData(40, 200, false)]
    [InlineData(89, 89, false)]
    [InlineData(90, 60, true)]
    public void TheTimeToBootIsThatOfTheProcessors(int usedSeconds, int elapsedSeconds, bool isOver) =>
        Assert.Equal(isOver, QemuProgram.IsOver(TimeSpan.FromSeconds(90), TimeSpan.FromSeconds(usedSeconds), TimeSpan.FromSeconds(elapsedSeconds)));

    [Fact]
    public void ProcessorTimeIsThatOfTheProcess()
    {
        Assert.True(QemuProgram.ProcessorTime(Environment.ProcessId) > TimeSpan.Zero);
        Assert.Equal(TimeSpan.Zero, QemuProgram.ProcessorTime(null));
        Assert.Equal(TimeSpan.Zero, QemuProgram.ProcessorTime(int.MaxValue));
    }
}
