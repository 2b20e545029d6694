using Polyblk.Cli.CommandLine;

namespace Polyblk.Cli.Tests;

public class CompareTypedCommandTests
{
    [Fact]
    public void InAMachineTheCommandIsTheOneThatWasTypedOnItsHost()
    {
        string described = GuestEnvironment.Describe("kvm", "host", "10.0.2", "polyblk compare --inside-guest --methods 'a|b'");
        Assert.Equal("polyblk compare --inside-guest --methods 'a|b'", GuestEnvironment.CommandLine(described));
        Assert.Null(GuestEnvironment.CommandLine(null));
    }
}
