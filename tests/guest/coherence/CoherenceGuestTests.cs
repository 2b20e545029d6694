// One array through every door at once, in a real kernel. What is checked is in coherence.sh.

using Polyblk.GuestRig;
using Polyblk.Machine;

namespace Polyblk.CoherenceGuest.Tests;

public sealed class CoherenceGuestTests
{
    [Fact]
    public async Task One_array_shows_the_same_data_through_vhost_user_vduse_ublk_and_nbd()
    {
        GuestResult result = await new GuestVmBuilder("coherence", GuestKernel.Linux612)
            .Memory(2560)
            .Cpus(4)
            .Polyblk()
            .GuestPrograms()
            .Programs("vdpa", "nbd-client")
            .Script(await File.ReadAllTextAsync(Path.Combine(RigPaths.Repository, "tests", "guest", "coherence", "coherence.sh")))
            .Timeout(TimeSpan.FromMinutes(15))
            .RunAsync();
        result.RequireSuccess("create", "nbd", "doors", "coherent", "finish", "coherent-degraded", "finish-degraded", "nothing-left");
    }
}
