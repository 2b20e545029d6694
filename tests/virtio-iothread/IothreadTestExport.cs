using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Drives.Ram;
using Polyblk.Fakes;
using Polyblk.Frontends;
using Polyblk.Frontends.Nbd;
using Polyblk.Frontends.VirtioIothread;

namespace Polyblk.VirtioIothread.Tests;

/// <summary>An export of a RAM drive by virtio-iothread over NBD.</summary>
internal sealed class IothreadTestExport : IAsyncDisposable
{
    private readonly ReactorFixture _reactors = new(2);
    private readonly string _folder = Directory.CreateTempSubdirectory("polyblk-iot-").FullName;
    private readonly RamDrive _drive = new(64 << 20);

    public IExport Export { get; private set; } = null!;

    public static async Task<IothreadTestExport> StartAsync(params (string Name, string Value)[] options)
    {
        var test = new IothreadTestExport();
        try
        {
            var catalog = new Catalog([new NbdFrontend()]);
            ExportSpec spec = Spec(test._drive, options);
            var context = new ExportContext(test._reactors.Group, test._folder, test._folder, NullLoggerFactory.Instance);
            test.Export = await new VirtioIothreadFrontend(catalog).CreateAsync(spec, context, CancellationToken.None);
            return test;
        }
        catch
        {
            await test.DisposeAsync();
            throw;
        }
    }

    public static ExportSpec Spec(RamDrive drive, params (string Name, string Value)[] options) => new()
    {
        Id = "data/virtio-iothread/0",
        VolumeName = "data",
        Device = drive,
        Serial = "iothread-serial",
        Options = options.ToDictionary(o => o.Name, o => o.Value),
    };

    public AttachCommand[] Commands(string consumer) => [.. Export.AttachCommands.Where(c => c.Consumer == consumer)];

    public AttachCommand Command(string consumer) => Export.AttachCommands.First(c => c.Consumer == consumer);

    public async ValueTask DisposeAsync()
    {
        if (Export is not null)
        {
            await Export.DisposeAsync();
        }

        _reactors.Dispose();
        await _drive.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    private sealed class Catalog(IReadOnlyList<IFrontend> all) : IFrontendCatalog
    {
        public IReadOnlyList<IFrontend> All => all;

        public IFrontend? Find(string name) => all.FirstOrDefault(f => f.Name == name);
    }
}
