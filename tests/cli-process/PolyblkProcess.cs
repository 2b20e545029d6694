// Runs the real program as a process: what a user sees is what is tested.

using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Polyblk.Core.Interop;
using Polyblk.Drives.Files;
using Polyblk.Host;
using Polyblk.Tests;
using SystemProcess = System.Diagnostics.Process;

namespace Polyblk.Cli.Process.Tests;

/// <summary>What a run of the program gave.</summary>
internal sealed record RunOutput(int ExitCode, string Output, string Errors)
{
    public JsonElement Json => JsonDocument.Parse(Output).RootElement;
}

/// <summary>A temporary state directory and the programs that ran on it; everything ends with it.</summary>
internal sealed class PolyblkSandbox : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(240);

    private readonly List<ServeProcess> _serving = [];

    public PolyblkSandbox()
    {
        Directory = System.IO.Directory.CreateTempSubdirectory("pbt").FullName;
    }

    /// <summary>What starts the program, quoted for a shell.</summary>
    public static string ShellWords { get; } = string.Join(' ', PolyblkCommand.Words.Select(word => $"'{word}'"));

    public string Directory { get; }

    public string State => Path.Combine(Directory, "s");

    public string PathOf(string name) => Path.Combine(Directory, name);

    /// <summary>
    /// The SHA-256 of a file. Takes no lock, as the framework's streams do: the kernel may hold on to the one of a process that
    /// was killed for a moment more.
    /// </summary>
    public byte[] Sum(string name)
    {
        using DriveReader file = DriveReader.Open(PathOf(name));
        byte[] content = new byte[file.SizeBytes];
        int read = file.ReadAsync(0, content, CancellationToken.None).GetAwaiter().GetResult();
        return SHA256.HashData(content.AsSpan(0, read));
    }

    /// <summary>Runs a command to its end.</summary>
    public RunOutput Run(params string[] arguments)
    {
        using SystemProcess process = Start(arguments);
        Task<string> errors = process.StandardError.ReadToEndAsync();
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        if (!process.WaitForExit(s_patience))
        {
            process.Kill(entireProcessTree: true);
            throw new TimeoutException($"polyblk {string.Join(' ', arguments)} did not end.\n{errors.Result}");
        }

        return new RunOutput(process.ExitCode, output.GetAwaiter().GetResult(), errors.GetAwaiter().GetResult());
    }

    /// <summary>Runs a command that must succeed.</summary>
    public RunOutput Must(params string[] arguments)
    {
        RunOutput run = Run(arguments);
        Assert.True(run.ExitCode == 0, $"polyblk {string.Join(' ', arguments)} ended with {run.ExitCode}:\n{run.Errors}");
        return run;
    }

    /// <summary>Starts <c>serve … --json</c> and waits until it is ready.</summary>
    public ServeProcess Serve(params string[] arguments)
    {
        var serving = new ServeProcess(Start(["serve", .. arguments, "--json"]));
        _serving.Add(serving);
        serving.WaitUntilReady();
        return serving;
    }

    public SystemProcess Start(string[] arguments, Action<ProcessStartInfo>? change = null)
    {
        var start = new ProcessStartInfo(PolyblkCommand.Words[0], [.. PolyblkCommand.Words.Skip(1), .. arguments])
        {
            RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false,
        };
        start.ArgumentList.Add("--state");
        start.ArgumentList.Add(State);
        change?.Invoke(start);
        return SystemProcess.Start(start)!;
    }

    public void Dispose()
    {
        _serving.ForEach(s => s.Dispose());
        System.IO.Directory.Delete(Directory, recursive: true);
    }
}

/// <summary>A <c>polyblk serve</c> that runs.</summary>
internal sealed class ServeProcess(SystemProcess process) : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    private readonly StringBuilder _errors = new();

    /// <summary>What it printed when it was ready.</summary>
    public JsonElement Ready { get; private set; }

    public int Id => process.Id;

    public string Errors
    {
        get
        {
            lock (_errors)
            {
                return _errors.ToString();
            }
        }
    }

    public string Socket(int export = 0) => Ready.GetProperty("exports")[export].GetProperty("endpoint").GetString()!;

    public void WaitUntilReady()
    {
        process.ErrorDataReceived += (_, line) =>
        {
            lock (_errors)
            {
                _errors.AppendLine(line.Data);
            }
        };
        process.BeginErrorReadLine();
        Task<string?> line = process.StandardOutput.ReadLineAsync();
        Assert.True(line.Wait(s_patience), $"serve did not become ready:\n{Errors}");
        if (line.Result is null)
        {
            process.WaitForExit();
            Assert.Fail($"serve ended with {process.ExitCode}:\n{Errors}");
        }

        Ready = JsonDocument.Parse(line.Result).RootElement;
    }

    /// <summary>Sends a signal and waits for the end. Returns the exit code (128 + n where a signal killed it).</summary>
    public int End(int signal)
    {
        Assert.Equal(0, Libc.kill(process.Id, signal));
        Assert.True(process.WaitForExit(s_patience), $"serve did not end on signal {signal}:\n{Errors}");
        return process.ExitCode;
    }

    public void WaitForExit() => Assert.True(process.WaitForExit(s_patience), $"serve did not end:\n{Errors}");

    public int ExitCode => process.ExitCode;

    public void Dispose()
    {
        if (!process.HasExited)
        {
            process.Kill();
            process.WaitForExit();
        }

        process.Dispose();
    }
}
