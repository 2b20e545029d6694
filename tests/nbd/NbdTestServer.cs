using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Core.Block;
using Polyblk.Fakes;
using Polyblk.Frontends;
using Polyblk.Frontends.Nbd;

// A test counts the descriptors of the process: one at a time.
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)]

namespace Polyblk.Nbd.Tests;

/// <summary>An NBD export of a device on two reactors.</summary>
internal sealed class NbdTestServer : IAsyncDisposable
{
    public const string Volume = "data";

    private readonly ReactorFixture _reactors = new(2);
    private readonly string _folder = Directory.CreateTempSubdirectory("polyblk-nbd-").FullName;

    private NbdTestServer(IBlockDevice device) => Device = device;

    public IBlockDevice Device { get; }

    public IExport Export { get; private set; } = null!;

    public string Socket => Export.Endpoint.Path;

    public string Uri => $"nbd+unix:///{Volume}?socket={Socket}";

    public string Folder => _folder;

    public IReadOnlyList<Core.Reactors.Reactor> Reactors => _reactors.Reactors;

    public static async Task<NbdTestServer> StartAsync(
        IBlockDevice device, bool readOnly = false, NbdLimits? limits = null, ILoggerFactory? logging = null, TimeProvider? clock = null)
    {
        var server = new NbdTestServer(device);
        var spec = new ExportSpec { Id = "data/nbd/0", VolumeName = Volume, Device = device, Serial = "serial-1", ReadOnly = readOnly };
        var context = new ExportContext(
            server._reactors.Group, server._folder, server._folder, logging ?? NullLoggerFactory.Instance) { Clock = clock ?? TimeProvider.System };
        server.Export = await new NbdFrontend(limits ?? new NbdLimits()).CreateAsync(spec, context, CancellationToken.None);
        return server;
    }

    public async ValueTask DisposeAsync()
    {
        await Export.DisposeAsync();
        _reactors.Dispose();
        await Device.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }
}
