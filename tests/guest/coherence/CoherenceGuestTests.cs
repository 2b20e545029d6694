// Volumes through every door at once, in a real kernel: one array through all of them (coherence.sh), and three in a daemon that
// is killed and succeeded under their load (kills.sh).

using Polyblk.GuestRig;
using Polyblk.Machine;

namespace Polyblk.CoherenceGuest.Tests;

public sealed class CoherenceGuestTests
{
    [Fact]
    public async Task Every_door_shows_the_same_data_and_none_loses_a_request_when_the_daemon_is_killed_or_succeeded()
    {
        // More of them for those who want to know it better: 50 take three minutes.
        string kills = Environment.GetEnvironmentVariable("POLYBLK_KILLS") ?? "5";
        string restarts = Environment.GetEnvironmentVariable("POLYBLK_RESTARTS") ?? "2";
        GuestResult result = await new GuestVmBuilder("coherence", GuestKernel.Linux612)
            .Memory(2560)
            .Cpus(4)
            .Polyblk()
            .GuestPrograms()
            .Programs("vdpa", "nbd-client")
            .Script($"kills={kills} restarts={restarts}\n{await ScriptAsync("coherence.sh")}\n{await ScriptAsync("kills.sh")}\nexit 0\n")
            .Timeout(TimeSpan.FromMinutes(15))
            .RunAsync();
        result.RequireSuccess(
            "create", "nbd", "doors", "coherent", "finish", "coherent-degraded", "finish-degraded", "nothing-left",
            "create-a", "create-b", "create-c", "export-a", "export-b", "export-c", "killed", "told", "restarted", "only-killed",
            "healthy", "finish-killed", "nothing-left-killed");
    }

    private static Task<string> ScriptAsync(string name) =>
        File.ReadAllTextAsync(Path.Combine(RigPaths.Repository, "tests", "guest", "coherence", name));
}
