// polyblk apply as a process: from standard input, and from a file that is no file.

using SystemProcess = System.Diagnostics.Process;

namespace Polyblk.Cli.Process.Tests;

public sealed class ApplyTests : IDisposable
{
    private readonly PolyblkSandbox _sandbox = new();

    public void Dispose() => _sandbox.Dispose();

    [Fact]
    public void AFileComesByStandardInputAndIsPrintedAgain()
    {
        string drives = string.Join(", ", new[] { "a", "b" }.Select(d => $"'file:{_sandbox.PathOf(d)},size=4MiB'"));
        (int code, string errors) = Feed($"volumes: {{data: {{level: raid1, drives: [{drives}], spares: ['file:{_sandbox.PathOf("c")},size=4MiB'], exports: [{{frontend: nbd}}]}}}}");
        Assert.True(code == 0, errors);
        string printed = _sandbox.Must("apply", "--print").Output;
        Assert.Equal($"""
            volumes:
              data:
                level: raid1
                drives:
                - {_sandbox.PathOf("a")}
                - {_sandbox.PathOf("b")}
                spares:
                - {_sandbox.PathOf("c")}
                exports:
                - frontend: nbd

            """, printed);
        File.WriteAllText(_sandbox.PathOf("f.yaml"), printed);
        Assert.EndsWith("Nothing differs.\n", _sandbox.Must("apply", _sandbox.PathOf("f.yaml"), "--dry-run").Output,
            StringComparison.Ordinal);
    }

    [Fact]
    public void WhatIsNoFileIsRefused()
    {
        Assert.Equal(2, _sandbox.Run("apply", "/dev/zero").ExitCode);
        Assert.Equal(2, _sandbox.Run("apply", "/dev/null").ExitCode);
        Assert.Equal(5, _sandbox.Run("apply", _sandbox.Directory).ExitCode);
        (int code, string errors) = Feed("volumes: &a [*a, *a]");
        Assert.Equal((2, "error: standard input:1:10: anchors (&) are not taken: write it out.\n"), (code, errors));
    }

    private (int Code, string Errors) Feed(string text)
    {
        using SystemProcess process = _sandbox.Start(["apply", "-"], start => start.RedirectStandardInput = true);
        process.StandardInput.Write(text);
        process.StandardInput.Close();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, errors.GetAwaiter().GetResult());
    }
}
