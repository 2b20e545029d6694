using Microsoft.Extensions.DependencyInjection;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;

namespace Polyblk.Frontends.Vduse;

/// <summary>
/// The door through the kernel's vdpa bus: a disk for the host and its containers, or a vhost-vdpa device for a virtual machine.
/// </summary>
public sealed class VduseFrontend : IFrontend
{
    /// <summary>Its name on the command line.</summary>
    public const string FrontendName = "vduse";

    /// <inheritdoc/>
    public string Name => FrontendName;

    /// <inheritdoc/>
    public string Description => "The kernel's vdpa bus: /dev/vdX for this host and its containers, or /dev/vhost-vdpa-N for a virtual machine.";

    /// <inheritdoc/>
    public IReadOnlyList<FrontendOption> Options => VduseOptions.Descriptions;

    /// <inheritdoc/>
    public bool IsDevice => true;

    /// <inheritdoc/>
    public FrontendProbe Probe()
    {
        var facts = new Dictionary<string, string>
        {
            ["vdpa tool"] = VdpaTool.Find() ?? "not found",
            ["virtio_vdpa"] = VdpaTool.HasDriver(VdpaAttachment.Virtio) ? "loaded" : "not loaded",
            ["vhost_vdpa"] = VdpaTool.HasDriver(VdpaAttachment.Vhost) ? "loaded" : "not loaded",
        };
        int fd = Libc.open(VduseControl.Path, Libc.O_RDWR | Libc.O_CLOEXEC);
        if (fd < 0)
        {
            string remedy = fd == -Errno.EACCES ? "run as root" : "modprobe vduse";
            return new FrontendProbe(false, VduseControl.Explain(-fd), [remedy], facts);
        }

        _ = Libc.close(fd);
        string[] remedies = VdpaTool.Find() is null ? ["apt install iproute2"] : [];
        return new FrontendProbe(true, "The kernel has VDUSE.", remedies, facts);
    }

    /// <inheritdoc/>
    public async Task<IExport> CreateAsync(ExportSpec spec, ExportContext context, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(spec);
        ArgumentNullException.ThrowIfNull(context);
        return await VduseExport.CreateAsync(spec, context, cancellation).ConfigureAwait(false);
    }
}

/// <summary>Registration.</summary>
public static class VduseServices
{
    /// <summary>Adds the VDUSE frontend.</summary>
    public static IServiceCollection AddVduse(this IServiceCollection services) => services.AddSingleton<IFrontend, VduseFrontend>();
}
