using System.Diagnostics;
using Polyblk.GuestRig;

namespace Polyblk.CompareGuest.Tests;

/// <summary>Programs of the host that prepare a test.</summary>
internal static class TestPrograms
{
    /// <summary>Runs one; a failure is the test's.</summary>
    public static void Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(RigPaths.Program(program), arguments) { RedirectStandardError = true })!;
        string errors = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{program}: {errors}");
    }
}
