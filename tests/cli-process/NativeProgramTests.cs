// The program as machine code: that it is one where it can be, that it has the processor's parity kernels, and what happens where
// nothing links it.

using System.Diagnostics;
using Polyblk.Host;
using Polyblk.Raid.Parity;
using Polyblk.Tests;
using SystemProcess = System.Diagnostics.Process;

namespace Polyblk.Cli.Process.Tests;

public sealed class NativeProgramTests : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(240);
    private static readonly string s_tools = Path.Combine(ResultFiles.Root, "eng", "native");

    private readonly PolyblkSandbox _sandbox = new();

    public void Dispose() => _sandbox.Dispose();

    [Fact]
    public void WhereACompilerLinksTheProgramIsMachineCode()
    {
        bool links = Run(Path.Combine(s_tools, "linker"), []).ExitCode == 0;
        Assert.Equal(links, PolyblkCommand.IsNative);
        string level = Run(Path.Combine(s_tools, "instruction-set"), []).Output.Trim();
        string said = _sandbox.Must("--version", "--verbose").Output;
        if (links)
        {
            Assert.Contains($"program: native, for {level},", said, StringComparison.Ordinal);
        }
        else
        {
            Assert.Contains("program: on the .NET runtime", said, StringComparison.Ordinal);
        }
    }

    /// <summary>
    /// These tests are compiled for the processor at hand by the just-in-time compiler, so they know what it can do.
    /// </summary>
    [Fact]
    public void TheProgramUsesTheFastestParityKernelsOfThisProcessor()
    {
        string kernels = _sandbox.Must("--version", "--verbose").Output.Split('\n').Single(line => line.StartsWith("parity kernels: ", StringComparison.Ordinal));
        Assert.StartsWith($"parity kernels: {ParityKernels.Best.Name},", kernels, StringComparison.Ordinal);
    }

    [Fact]
    public void AVersionIsOneLineForPrograms() =>
        Assert.Matches(@"^[0-9]+\.[0-9]+\.[0-9]+\S*\n$", _sandbox.Must("--version").Output);

    [Theory]
    [InlineData("lm cx16 popcnt ssse3 sse4_1 sse4_2", "x86-64-v2")]
    [InlineData("lm cx16 popcnt ssse3 sse4_1 sse4_2 avx f16c xsave", "x86-64-v2")]
    [InlineData("lm cx16 popcnt ssse3 sse4_1 sse4_2 avx f16c xsave avx2 bmi1 bmi2 fma movbe", "x86-64-v3")]
    [InlineData("lm cx16 popcnt ssse3 sse4_1 sse4_2 avx f16c xsave avx2 bmi1 bmi2 fma movbe avx512f avx512bw avx512cd avx512dq avx512vl", "x86-64-v3")]
    [InlineData("lm cx16 popcnt ssse3 sse4_1 sse4_2 avx f16c xsave avx2 bmi1 bmi2 fma movbe avx512f avx512bw avx512cd avx512dq avx512vl gfni", "x86-64-v4")]
    [InlineData("lm cx16 popcnt ssse3 sse4_1", "")]
    public void TheLevelIsThatOfTheProcessorsFlags(string flags, string level)
    {
        File.WriteAllText(_sandbox.PathOf("cpuinfo"), $"processor\t: 0\nflags\t\t: fpu {flags} last\nbugs\t\t:\n\nprocessor\t: 1\nflags\t\t: none\n");
        RunOutput run = Run(Path.Combine(s_tools, "instruction-set"), [_sandbox.PathOf("cpuinfo")]);
        Assert.Equal(level, run.Output.Trim());
        Assert.Equal(level.Length == 0 ? 1 : 0, run.ExitCode);
    }

    [Fact]
    public void ACompilerThatLinksNothingIsNone()
    {
        string tools = Tools("bash", "mktemp", "rm");
        Script(Path.Combine(tools, "gcc"), "exit 1");
        RunOutput run = Run(Path.Combine(s_tools, "linker"), [], tools);
        Assert.Equal(1, run.ExitCode);
        Assert.Contains("install gcc and libc6-dev", Assert.Single(Lines(run.Errors)), StringComparison.Ordinal);
    }

    /// <summary>The build chooses as the script that starts it does.</summary>
    [Fact]
    public void ABuildWithoutACompilerMakesTheProgramForTheRuntime()
    {
        string tools = Tools("bash", "sh", "mktemp", "rm", "sed", "dotnet");
        RunOutput run = Run("dotnet", ["msbuild", Path.Combine(s_tools, "Polyblk.Native.csproj"), "-t:FindTools", "-getProperty:CanLink", "-p:Configuration=Release"], tools);
        Assert.True(run.ExitCode == 0, run.Output + run.Errors);
        Assert.NotEqual("true", run.Output.Trim());
    }

    /// <summary>With a stand-in for the SDK: what is tested is what ./polyblk makes of what it finds.</summary>
    [Fact]
    public void WithoutACompilerItSaysSoOnceAndRunsOnTheRuntime()
    {
        string root = Path.Combine(_sandbox.Directory, "tree");
        foreach (string folder in new[] { "core", "drives", "virtio", "raid", "frontends", "machine", "compare", "host", "api", "cli", "eng/native", "eng/precompiled" })
        {
            Directory.CreateDirectory(Path.Combine(root, folder));
        }

        foreach (string file in new[] { "polyblk", "eng/dotnet.sh", "eng/native/linker", "eng/native/instruction-set", "Directory.Build.props", "Directory.Packages.props", "global.json" })
        {
            File.Copy(Path.Combine(ResultFiles.Root, file), Path.Combine(root, file));
        }

        string tools = Tools("bash", "sh", "readlink", "dirname", "find", "touch", "mktemp", "cat", "rm", "mv", "mkdir", "flock", "sed", "grep");
        Script(Path.Combine(tools, "dotnet"), $"""
            case $1 in
              --version) echo 10.0.100 ;;
              build) mkdir -p '{root}/artifacts/polyblk'; echo >'{root}/artifacts/polyblk/polyblk.dll'; echo built >>'{root}/builds' ;;
              *) echo "dotnet $*" ;;
            esac
            """);
        string program = Path.Combine(root, "polyblk");
        RunOutput first = Run(program, ["volume", "list"], tools);
        Assert.Equal($"dotnet {root}/artifacts/polyblk/polyblk.dll volume list\n", first.Output);
        Assert.Contains("install gcc and libc6-dev", Assert.Single(Lines(first.Errors)), StringComparison.Ordinal);
        RunOutput second = Run(program, ["volume", "list"], tools);
        Assert.Equal((first.Output, ""), (second.Output, second.Errors));
        Assert.Single(File.ReadAllLines(Path.Combine(root, "builds")));
    }

    private static string[] Lines(string text) => text.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    /// <summary>A folder with these programs and no others.</summary>
    private string Tools(params string[] names)
    {
        string folder = Directory.CreateDirectory(_sandbox.PathOf("tools")).FullName;
        foreach (string name in names)
        {
            string found = Environment.GetEnvironmentVariable("PATH")!.Split(':').Select(f => Path.Combine(f, name)).First(File.Exists);
            File.CreateSymbolicLink(Path.Combine(folder, name), found);
        }

        return folder;
    }

    private static void Script(string path, string text)
    {
        File.WriteAllText(path, "#!/bin/bash\n" + text + "\n");
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }

    private static RunOutput Run(string program, string[] arguments, string? path = null)
    {
        // The loader of programs looks names up in this process's PATH.
        string[] command = [Path.IsPathRooted(program) ? program : Path.Combine(path!, program), .. arguments];
        var start = new ProcessStartInfo(command[0], command[1..]) { RedirectStandardOutput = true, RedirectStandardError = true };
        if (path is not null)
        {
            start.Environment["PATH"] = path;
        }

        using SystemProcess process = SystemProcess.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        if (!process.WaitForExit(s_patience))
        {
            process.Kill(entireProcessTree: true);
            Assert.Fail($"{string.Join(' ', command)} did not end.");
        }

        return new RunOutput(process.ExitCode, output.GetAwaiter().GetResult(), errors.GetAwaiter().GetResult());
    }
}
