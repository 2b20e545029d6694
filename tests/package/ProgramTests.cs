// The native program as it is installed.

using System.Diagnostics;

namespace Polyblk.Package.Tests;

public sealed class ProgramTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("polyblk-program-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>
    /// The .NET runtime opens a socket in TMPDIR by which its user may read a process's memory and run code in it. A target has
    /// none, whatever the environment says.
    /// </summary>
    [Fact]
    public void Nobody_attaches_a_debugger_of_the_runtime()
    {
        Assert.True(Polyblk.Tests.PolyblkCommand.IsNative);
        string temporary = Directory.CreateDirectory(Path.Combine(_folder, "tmp")).FullName;
        string state = Path.Combine(_folder, "state");
        string[] words = ["daemon", "--state", state];
        var start = new ProcessStartInfo(Shell.Program, words) { RedirectStandardError = true };
        start.Environment["TMPDIR"] = temporary;
        start.Environment["DOTNET_EnableDiagnostics"] = "1";
        using Process daemon = Process.Start(start)!;
        try
        {
            string? line;
            do
            {
                line = daemon.StandardError.ReadLine();
                Assert.NotNull(line);
            }
            while (!line.Contains("The daemon is ready", StringComparison.Ordinal));

            Assert.Empty(Directory.GetFileSystemEntries(temporary));
            Assert.DoesNotContain($"dotnet-diagnostic-{daemon.Id}-", File.ReadAllText("/proc/net/unix"), StringComparison.Ordinal);
        }
        finally
        {
            daemon.Kill();
            daemon.WaitForExit();
        }
    }

    [Theory]
    [InlineData("polyblk ", "volume serve daemon export check probe compare")]
    [InlineData("polyblk volume cr", "create")]
    [InlineData("polyblk export add data --fr", "--frontend")]
    [InlineData("polyblk daemon --re", "--reactors")]
    public void It_completes_command_lines(string line, string words)
    {
        string[] offered = Shell.Run(Shell.Program, $"[suggest:{line.Length}]", line).Split('\n');
        Assert.All(words.Split(' '), word => Assert.Contains(word, offered));
    }

    [Theory]
    [InlineData("polyblk volume cr", "create")]
    [InlineData("polyblk export add data --fr", "--frontend")]
    public void Bash_completes_by_asking_it(string line, string expected)
    {
        string[] words = line.Split(' ');
        string script = $"""
            PATH={Path.GetDirectoryName(Shell.Program)}:$PATH
            . {Shell.Source("eng", "packaging", "completions", "bash")}
            COMP_LINE='{line}' COMP_POINT={line.Length} COMP_WORDS=({string.Join(' ', words)}) COMP_CWORD={words.Length - 1}
            _polyblk
            printf '%s\n' "${"{COMPREPLY[@]}"}"
            """;
        Assert.Equal(expected, Shell.Run("bash", "-uec", script).Trim());
    }
}
