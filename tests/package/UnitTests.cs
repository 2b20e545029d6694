// The daemon's unit, by systemd's own judgement.

namespace Polyblk.Package.Tests;

public sealed class UnitTests
{
    private static readonly string s_unit = Shell.Source("eng", "systemd", "polyblk.service");

    /// <summary>systemd-analyze security counts from 0 to 10 what a service might do; 30 stands for 3.0.</summary>
    [Fact]
    public void It_is_exposed_to_little()
    {
        (int status, string output) = Shell.TryRun(
            "systemd-analyze", "security", "--offline=yes", "--threshold=30", "--no-pager", s_unit);
        Assert.True(status == 0, output);
        Assert.Contains("Overall exposure level for polyblk.service: ", output, StringComparison.Ordinal);
    }

    /// <summary>Where the program itself looks, as root and as the daemon's user.</summary>
    [Fact]
    public void Its_folders_are_those_of_the_program()
    {
        string unit = File.ReadAllText(s_unit);
        Assert.Contains("\nEnvironment=XDG_STATE_HOME=/var/lib XDG_RUNTIME_DIR=/run\n", unit, StringComparison.Ordinal);
        Assert.Contains("\nStateDirectory=polyblk\n", unit, StringComparison.Ordinal);
        Assert.Contains("\nRuntimeDirectory=polyblk\n", unit, StringComparison.Ordinal);
    }

    /// <summary>The unit waits longer for the end than the daemon does.</summary>
    [Fact]
    public void The_daemon_ends_before_systemd_ends_it()
    {
        string options = File.ReadAllText(Shell.Source("eng", "packaging", "default"));
        int within = int.Parse(options.Split("--stop-within ")[1].Split('"', ' ')[0], null);
        int limit = int.Parse(File.ReadAllText(s_unit).Split("\nTimeoutStopSec=")[1].Split('\n')[0], null);
        Assert.InRange(within, 1, limit - 10);
    }
}
