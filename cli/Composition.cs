// The only place that knows every part. A further frontend is its own folder and one line here.

using Microsoft.Extensions.DependencyInjection;
using Polyblk.Cli.CommandLine;
using Polyblk.Cli.CommandLine.Volumes;
using Polyblk.Frontends;
using Polyblk.Frontends.Nbd;
using Polyblk.Frontends.Ublk;
using Polyblk.Frontends.Vduse;
using Polyblk.Frontends.VhostUser;
using Polyblk.Frontends.VirtioIothread;

namespace Polyblk.Cli;

/// <summary>Dependency injection.</summary>
internal static class Composition
{
    /// <summary>Everything the program is made of.</summary>
    public static ServiceProvider Build()
    {
        var services = new ServiceCollection();
        AddFrontends(services);
        services.AddSingleton<IFrontendCatalog, FrontendCatalog>();
        AddCommands(services);
        return services.BuildServiceProvider();
    }

    /// <summary>The doors, one line each; the order is that of help and probe.</summary>
    public static void AddFrontends(IServiceCollection services)
    {
        services.AddVhostUser();
        services.AddVduse();
        services.AddUblk();
        services.AddNbd();
        services.AddVirtioIothread();
    }

    /// <summary>Each by its name, so that a command line makes the one that it names; the order is that of help.</summary>
    private static void AddCommands(IServiceCollection services)
    {
        services.AddKeyedSingleton<ICliCommand, VolumeCommand>("volume");
        services.AddKeyedSingleton<ICliCommand, ServeCommand>("serve");
        services.AddKeyedSingleton<ICliCommand, DaemonCommand>("daemon");
        services.AddKeyedSingleton<ICliCommand, ExportCommand>("export");
        services.AddKeyedSingleton<ICliCommand, ApplyCommand>("apply");
        services.AddKeyedSingleton<ICliCommand, CheckCommand>("check");
        services.AddKeyedSingleton<ICliCommand, EventsCommand>("events");
        services.AddKeyedSingleton<ICliCommand, TopCommand>("top");
        services.AddKeyedSingleton<ICliCommand, ProbeCommand>("probe");
        services.AddKeyedSingleton<ICliCommand, CompareCommand>("compare");
        services.AddKeyedSingleton<ICliCommand, UblkCommand>("ublk");
    }
}
