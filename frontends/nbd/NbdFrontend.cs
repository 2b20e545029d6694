using Microsoft.Extensions.DependencyInjection;

namespace Polyblk.Frontends.Nbd;

/// <summary>
/// The Network Block Device protocol over a Unix socket: no kernel module, every QEMU, and the way into QEMU's own virtio-blk.
/// </summary>
public sealed class NbdFrontend : IFrontend
{
    internal const string FrontendName = "nbd";

    private readonly NbdLimits _limits;

    /// <summary>Makes it, with the limits that are right for a host.</summary>
    public NbdFrontend()
        : this(new NbdLimits())
    {
    }

    internal NbdFrontend(NbdLimits limits) => _limits = limits;

    /// <inheritdoc/>
    public string Name => FrontendName;

    /// <inheritdoc/>
    public string Description => "NBD over a Unix socket: QEMU, qemu-img, nbdcopy, nbd-client; needs no kernel module.";

    /// <inheritdoc/>
    public IReadOnlyList<FrontendOption> Options => [];

    /// <inheritdoc/>
    public FrontendProbe Probe() => new(true, "Unix sockets are always there.", [], new Dictionary<string, string>());

    /// <inheritdoc/>
    public Task<IExport> CreateAsync(ExportSpec spec, ExportContext context, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(spec);
        ArgumentNullException.ThrowIfNull(context);
        return Task.FromResult<IExport>(NbdExport.Start(spec, context, _limits));
    }
}

/// <summary>Registration.</summary>
public static class NbdServices
{
    /// <summary>Adds the frontend <c>nbd</c>.</summary>
    public static IServiceCollection AddNbd(this IServiceCollection services) => services.AddSingleton<IFrontend, NbdFrontend>();
}
