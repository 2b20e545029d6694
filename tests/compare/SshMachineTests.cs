using Polyblk.Compare.Guest;
using Polyblk.Compare.Methods;

namespace Polyblk.Compare.Tests;

/// <summary>The talk with a machine behind ssh; a program that runs the script here stands for ssh.</summary>
public sealed class SshMachineTests : IDisposable
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(1);

    private readonly string _folder = Directory.CreateTempSubdirectory("polyblk-ssh-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task AScriptsOutputErrorsStatusAndMarkComeBack()
    {
        int marks = 0;
        GuestCommandResult result = await Machine("exec sh -s").RunAsync("echo out; mark; echo 'it is bad' >&2; exit 3", s_limit, () => marks++, CancellationToken.None);
        Assert.Equal((3, "out\n", "it is bad"), (result.ExitCode, result.Output, result.Errors));
        Assert.Equal(1, marks);
    }

    [Fact]
    public async Task AMarkComesAlsoFromAPartOfTheScriptThatIsSilent()
    {
        int marks = 0;
        await Machine("exec sh -s").RunAsync("(mark) >/dev/null 2>&1 &\nwait", s_limit, () => marks++, CancellationToken.None);
        Assert.Equal(1, marks);
    }

    [Fact]
    public async Task OptionsComeBeforeTheMachine()
    {
        string program = Program("echo \"$@\"; exec sh -s");
        GuestCommandResult result = await new SshMachine("root@vm", program, ["-p", "22"]).RunAsync("", s_limit, () => { }, CancellationToken.None);
        Assert.Equal("-p 22 -o BatchMode=yes -T -- root@vm sh -s\n", result.Output);
    }

    [Fact]
    public async Task TheScriptIsForTheMachineThatWasNamed()
    {
        GuestCommandResult result = await Machine("echo \"$@\"; exec sh -s").RunAsync("", s_limit, () => { }, CancellationToken.None);
        Assert.Equal("-o BatchMode=yes -T -- root@vm sh -s\n", result.Output);
    }

    [Fact]
    public async Task AScriptThatStandsStillIsGivenUp()
    {
        MethodException error = await Assert.ThrowsAsync<MethodException>(
            () => Machine("exec sh -s").RunAsync("echo begun; sleep 100", TimeSpan.FromSeconds(0.5), () => { }, CancellationToken.None));
        Assert.True(error.IsFinal);
        Assert.Contains("had not ended after 0.5 s", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ADiskThatIsNoneIsRefusedBeforeAnythingIsWritten()
    {
        string file = Path.Combine(_folder, "file");
        File.WriteAllText(file, "kept");
        MethodException error = await Assert.ThrowsAsync<MethodException>(() => Machine("exec sh -s").InspectAsync(file, CancellationToken.None));
        Assert.StartsWith("root@vm: ", error.Message, StringComparison.Ordinal);
        Assert.Equal("kept", File.ReadAllText(file));
    }

    [Fact]
    public async Task WhatSshSaysOfAMachineThatIsNotThereIsTheReason()
    {
        MethodException error = await Assert.ThrowsAsync<MethodException>(
            () => Machine("cat >/dev/null; echo 'Could not resolve hostname vm' >&2; exit 255").InspectAsync("/dev/vdb", CancellationToken.None));
        Assert.Contains("Could not resolve hostname vm", error.Message, StringComparison.Ordinal);
    }

    private SshMachine Machine(string body) => new("root@vm", Program(body));

    private string Program(string body)
    {
        string program = Path.Combine(_folder, "ssh");
        File.WriteAllText(program, $"#!/bin/sh\n{body}\n");
        File.SetUnixFileMode(program, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        return program;
    }
}
