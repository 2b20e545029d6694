using Microsoft.Extensions.DependencyInjection;
using Polyblk.Core.Interop;

namespace Polyblk.Frontends.VhostUser;

/// <summary>The door for virtual machines: a vhost-user-blk back-end behind a Unix socket.</summary>
public sealed class VhostUserFrontend : IFrontend
{
    /// <summary>Its name on the command line.</summary>
    public const string FrontendName = "vhost-user";

    /// <inheritdoc/>
    public string Name => FrontendName;

    /// <inheritdoc/>
    public string Description => "Virtual machines (QEMU, libvirt) and user-space drivers attach through a Unix socket and share their memory.";

    /// <inheritdoc/>
    public IReadOnlyList<FrontendOption> Options => VhostUserOptions.Descriptions;

    /// <summary>Needs nothing but Unix sockets and memfd, which every kernel that .NET runs on has: always available.</summary>
    public FrontendProbe Probe() => new(
        true,
        "Needs no kernel module and no privilege.",
        [],
        new Dictionary<string, string> { ["protocol features"] = Backend.OfferedProtocolFeatures.ToString() });

    /// <inheritdoc/>
    public Task<IExport> CreateAsync(ExportSpec spec, ExportContext context, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(spec);
        ArgumentNullException.ThrowIfNull(context);
        cancellation.ThrowIfCancellationRequested();
        VhostUserOptions options = VhostUserOptions.From(spec);
        string path = spec.SocketPath ?? Path.Combine(context.RuntimeDirectory, FileNameOf(spec.Id) + ".sock");
        if (System.Text.Encoding.UTF8.GetByteCount(path) >= Libc.SunPathBytes)
        {
            throw new FrontendException(
                $"The socket path {path} is longer than the {Libc.SunPathBytes - 1} bytes that a socket may have: give a shorter one with --socket.");
        }

        return Task.FromResult<IExport>(new VhostUserExport(spec, context, options, Path.GetFullPath(path)));
    }

    private static string FileNameOf(string id) => string.Concat(id.Select(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '.' or '_' ? c : '-'));
}

/// <summary>Registration.</summary>
public static class VhostUserServices
{
    /// <summary>Adds the vhost-user frontend.</summary>
    public static IServiceCollection AddVhostUser(this IServiceCollection services) => services.AddSingleton<IFrontend, VhostUserFrontend>();
}
