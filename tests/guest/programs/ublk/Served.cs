using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Frontends;
using Polyblk.Frontends.Ublk;

namespace Polyblk.GuestPrograms.Ublk;

/// <summary>
/// A volume with reactors of its own and its exports: one for each of the numbers of queues that were asked for.
/// </summary>
internal sealed class Served(Volume volume, ReactorGroup reactors) : IAsyncDisposable
{
    private readonly List<IExport> _exports = [];

    public Volume Volume { get; } = volume;

    public ReactorGroup Reactors { get; } = reactors;

    public IReadOnlyList<IExport> Exports => _exports;

    /// <summary>Makes a device.</summary>
    public async Task ExportAsync(ExportSpec spec, ExportContext context)
    {
        IExport export = await new UblkFrontend().CreateAsync(spec, context, CancellationToken.None);
        _exports.Add(export);
        _ = export.Completion.ContinueWith(
            t => Console.WriteLine($"ENDED {t.Exception!.InnerException!.Message}"), CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
    }

    public async Task StopAsync(StopMode mode)
    {
        foreach (IExport export in _exports)
        {
            await export.StopAsync(mode, CancellationToken.None);
        }
    }

    /// <summary>Gives an array so many MiB; a drive's volume takes over the size that the drive has now.</summary>
    public async Task ResizeAsync(int? sizeMib)
    {
        await Volume.ResizeAsync(sizeMib);
        foreach (IExport export in _exports)
        {
            await export.ResizeAsync(CancellationToken.None);
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (IExport export in _exports)
        {
            await export.DisposeAsync();
        }

        await Volume.DisposeAsync();
        Reactors.Dispose();
    }
}
