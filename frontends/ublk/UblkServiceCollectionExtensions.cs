using Microsoft.Extensions.DependencyInjection;

namespace Polyblk.Frontends.Ublk;

/// <summary>Registers the frontend.</summary>
public static class UblkServiceCollectionExtensions
{
    /// <summary>Adds the frontend <c>ublk</c>.</summary>
    public static IServiceCollection AddUblk(this IServiceCollection services) => services.AddSingleton<IFrontend, UblkFrontend>();
}
