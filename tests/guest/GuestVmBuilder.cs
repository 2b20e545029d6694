// What tests add to the product's virtual machines: the place of the logs, and the command line as built beside the tests.

using Polyblk.Machine;

namespace Polyblk.GuestRig;

/// <summary>A guest of a test; its log stays in artifacts/test-logs/guests.</summary>
public sealed class GuestVmBuilder : GuestBuilder
{
    /// <summary>A guest named for its log file.</summary>
    public GuestVmBuilder(string name, GuestKernel kernel)
        : base(name, kernel)
    {
        LogTo(Path.Combine(RigPaths.Repository, "artifacts", "test-logs", "guests"));

        // Ten seconds are usual.
        BootWithin(TimeSpan.FromSeconds(90));
    }
}

/// <summary>What only tests can do.</summary>
public static class GuestBuilderExtensions
{
    /// <summary>
    /// Adds polyblk's command line as ./polyblk runs it: machine code, or assemblies with the .NET runtime where nothing links
    /// that.
    /// </summary>
    public static GuestBuilder Polyblk(this GuestBuilder builder)
    {
        ArgumentNullException.ThrowIfNull(builder);
        foreach ((string variable, string value) in EmulatedRuntime.Settings)
        {
            builder.Runtime(variable, value);
        }

        return builder.Polyblk(RigPaths.ProgramFolder);
    }

    /// <summary>
    /// Adds the command line and the functions of <c>/rig/serving.sh</c> and <c>/rig/filesystem.sh</c>, which the script sources:
    /// for guests that serve volumes to themselves.
    /// </summary>
    public static GuestBuilder PolyblkServing(this GuestBuilder builder)
    {
        ArgumentNullException.ThrowIfNull(builder);
        string scripts = Path.Combine(RigPaths.Repository, "tests", "guest");
        return builder
            .Polyblk()
            .File(Path.Combine(scripts, "serving.sh"), "/rig/serving.sh")
            .File(Path.Combine(scripts, "filesystem.sh"), "/rig/filesystem.sh");
    }

    /// <summary>
    /// Adds the command guest-programs, what tests run beside the command line (programs/Program.cs), and libblkio, which it
    /// drives. What the program itself is linked to is what the command line is.
    /// </summary>
    public static GuestBuilder GuestPrograms(this GuestBuilder builder)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return builder
            .Library("/usr/lib/x86_64-linux-gnu/libblkio.so.1")
            .File(Path.Combine(RigPaths.Repository, "artifacts", "guest-programs", "guest-programs"), "/usr/bin/guest-programs");
    }

    /// <summary>Boots a guest, does what its script waits for, and returns what it reported.</summary>
    /// <param name="builder">The guest.</param>
    /// <param name="meanwhile">What is done outside while it runs; from the beginning again when the machine broke down and is
    /// booted again.</param>
    /// <exception cref="GuestException">The guest did not finish its script, or QEMU broke down three times.</exception>
    public static async Task<GuestResult> RunAsync(this GuestBuilder builder, Func<GuestVm, Task>? meanwhile = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        GuestResult? result = null;
        await Guests.RunAsync(async attempt =>
        {
            GuestVm guest = attempt.Start(builder);
            if (meanwhile is not null)
            {
                await meanwhile(guest);
            }

            result = await guest.CompletionAsync();
        });
        return result!;
    }
}

/// <summary>Tests with several guests, or with something that each attempt needs anew.</summary>
public static class Guests
{
    /// <summary>
    /// Does a test's work with guests (<see cref="GuestAttempt"/>); the error output says when it begins again.
    /// </summary>
    public static Task RunAsync(Func<GuestAttempt, Task> work) =>
        GuestAttempt.RunAsync(
            async attempt =>
            {
                await work(attempt);
                return true;
            },
            Console.Error.WriteLine);
}
