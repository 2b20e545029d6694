// /usr/bin/polyblk: which program it becomes, with programs that say their name.

namespace Polyblk.Package.Tests;

public sealed class LauncherTests : IDisposable
{
    private const int HostLacks = 5;

    private readonly string _folder = Directory.CreateTempSubdirectory("polyblk-launcher-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("x86-64-v4", "v2 v3 v4", "v4")]
    [InlineData("x86-64-v3", "v2 v3 v4", "v3")]
    [InlineData("x86-64-v2", "v2 v3 v4", "v2")]
    [InlineData("x86-64-v4", "v3", "v3")]
    [InlineData("x86-64-v3", "v2 v4", "v2")]
    public void The_best_that_runs_here_is_chosen(string processor, string programs, string expected)
    {
        (int status, string output) = Launch(processor, programs);
        Assert.Equal((0, $"{expected} an argument:--json\n"), (status, output));
    }

    [Theory]
    [InlineData("x86-64-v2", "v3 v4")]
    [InlineData("", "v2 v3 v4")]
    public void Where_none_runs_it_says_so(string processor, string programs)
    {
        (int status, string output) = Launch(processor, programs);
        Assert.Equal(HostLacks, status);
        Assert.Contains("no program for this processor", output, StringComparison.Ordinal);
    }

    private (int Status, string Output) Launch(string processor, string programs)
    {
        foreach (string program in programs.Split(' '))
        {
            Write($"x86-64-{program}/polyblk", $"#!/bin/sh\necho \"{program} $1:$2\"\n");
        }

        Write("instruction-set", processor.Length == 0 ? "#!/bin/sh\nexit 1\n" : $"#!/bin/sh\necho {processor}\n");
        string launcher = File.ReadAllText(Shell.Source("eng", "packaging", "polyblk"));
        Assert.Contains("here=/usr/lib/polyblk\n", launcher, StringComparison.Ordinal);
        Write("polyblk", launcher.Replace("here=/usr/lib/polyblk", "here=" + _folder, StringComparison.Ordinal));
        return Shell.TryRun(Path.Combine(_folder, "polyblk"), "an argument", "--json");
    }

    private void Write(string name, string text)
    {
        string path = Path.Combine(_folder, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, text);
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }
}
