// For guests that start polyblk's command line many times: see standby/Program.cs.

using Polyblk.Machine;

namespace Polyblk.GuestRig;

/// <summary>Processes that stand by in a guest to run commands.</summary>
public static class StandbyExtensions
{
    private const string Folder = "/opt/polyblk";
    private static readonly string s_built = Path.Combine(RigPaths.Repository, "artifacts", "bin");

    /// <summary>
    /// Adds the command line, and what runs its commands without a start for each (the test's project refers to eng/precompiled and standby). The
    /// script begins with <c>. /rig/standby.sh</c>; <c>. /rig/filesystem.sh</c> has checks of file systems.
    /// </summary>
    public static GuestBuilder PolyblkStandingBy(this GuestBuilder builder)
    {
        ArgumentNullException.ThrowIfNull(builder);
        string scripts = Path.Combine(RigPaths.Repository, "tests", "guest");
        return builder
            .ManagedPolyblk()
            .Program("Polyblk.GuestStandby")
            .File(Path.Combine(scripts, "standby", "standby.sh"), "/rig/standby.sh")
            .File(Path.Combine(scripts, "filesystem.sh"), "/rig/filesystem.sh");
    }

    private static GuestBuilder ManagedPolyblk(this GuestBuilder builder)
    {
        foreach ((string variable, string value) in EmulatedRuntime.Settings)
        {
            builder.Runtime(variable, value);
        }

        // What stands by has no list of dependencies: it finds what lies beside it, and this library lies in a folder for each processor.
        const string Library = "Tmds.LibC.dll";
        return builder.Polyblk(RigPaths.ManagedProgramFolder)
            .File(Path.Combine(RigPaths.ManagedProgramFolder, "runtimes", "linux-x64", "lib", "netstandard2.0", Library), $"/opt/polyblk/{Library}");
    }

    /// <summary>Adds a program of the tests, and those of its libraries that are named, beside the command line, whose libraries it shares.</summary>
    public static GuestBuilder Program(this GuestBuilder builder, string name, params string[] libraries)
    {
        ArgumentNullException.ThrowIfNull(builder);
        string built = Path.Combine(s_built, name, "release");
        foreach (string file in (string[])[name + ".dll", name + ".runtimeconfig.json", .. libraries.Select(library => library + ".dll")])
        {
            builder.File(Path.Combine(built, file), $"{Folder}/{file}");
        }

        return builder;
    }
}
