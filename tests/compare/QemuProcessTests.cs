using Polyblk.Machine;

namespace Polyblk.Compare.Tests;

/// <summary>Which process is QEMU, below the two kinds of timeout(1).</summary>
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
}
