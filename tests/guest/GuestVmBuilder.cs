// What tests add to the product's virtual machines: the place of the logs, and the command line as built beside the tests.

using Polyblk.Machine;

namespace Polyblk.GuestRig;

/// <summary>A guest of a test; its log stays in artifacts/test-logs/guests.</summary>
public sealed class GuestVmBuilder : GuestBuilder
{
    /// <summary>A guest named for its log file.</summary>
    public GuestVmBuilder(string name, GuestKernel kernel)
        : base(name, kernel) => LogTo(Path.Combine(RigPaths.Repository, "artifacts", "test-logs", "guests"));
}

/// <summary>What only tests can do.</summary>
public static class GuestBuilderExtensions
{
    /// <summary>Adds the .NET runtime and polyblk's command line (as built beside the tests), as the commands dotnet and polyblk.</summary>
    public static GuestBuilder Polyblk(this GuestBuilder builder)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return builder.Polyblk(RigPaths.CommandLineFolder);
    }
}
