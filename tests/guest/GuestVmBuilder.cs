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
        return builder.Polyblk(RigPaths.ProgramFolder);
    }

    /// <summary>
    /// Boots a guest, does what its script waits for, and returns what it reported. QEMU's emulator with several threads breaks down now and then
    /// (10.0.2: the assertion in iotlb_to_section, seconds after the start); such a guest is booted again, and the log says so.
    /// </summary>
    /// <param name="builder">The guest.</param>
    /// <param name="meanwhile">What is done outside while it runs; from the beginning again when it is booted again.</param>
    /// <exception cref="GuestException">The guest did not finish its script, or QEMU broke down three times.</exception>
    public static async Task<GuestResult> RunAsync(this GuestBuilder builder, Func<GuestVm, Task>? meanwhile = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        for (int attempt = 1; ; attempt++)
        {
            await using GuestVm guest = builder.Start();
            try
            {
                if (meanwhile is not null)
                {
                    await meanwhile(guest);
                }

                return await guest.CompletionAsync();
            }
            catch (GuestException e) when (e.IsMachineFault && attempt < 3)
            {
                await Console.Error.WriteLineAsync($"QEMU broke down; guest {builder.Name} is booted again. {e.Message}");
            }
        }
    }
}
