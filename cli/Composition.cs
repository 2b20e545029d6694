// The only place that knows every part. A further frontend is its own folder and one line here.

using Microsoft.Extensions.DependencyInjection;
using Polyblk.Cli.CommandLine;
using Polyblk.Cli.CommandLine.Volumes;
using Polyblk.Core.Frontend;
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

    private static void AddCommands(IServiceCollection services)
    {
        services.AddSingleton<ICliCommand, VolumeCommand>();
        services.AddSingleton<ICliCommand, ServeCommand>();
        services.AddSingleton<ICliCommand, ProbeCommand>();
        services.AddSingleton<ICliCommand, CompareCommand>();
        services.AddSingleton<ICliCommand, UblkCommand>();
    }
}
