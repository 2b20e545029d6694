// Exports: what is missing, and what is there beside it.

using System.Globalization;
using Polyblk.Host.Daemon;
using Polyblk.Host.Model;
using Polyblk.Host.State;

namespace Polyblk.Host.Declared;

public sealed partial class Planner
{
    private void PlanExports(DeclaredVolume volume, VolumeRecord? record)
    {
        if (volume.Exports is not IReadOnlyList<DeclaredExport> wanted)
        {
            return;
        }

        List<ExportRecord> left = [.. record?.Exports ?? []];
        var missing = new List<DeclaredExport>();
        foreach (DeclaredExport export in wanted)
        {
            int at = left.FindIndex(e => e.IsLike(export.Wanted));
            if (at < 0)
            {
                missing.Add(export);
                continue;
            }

            Keep(OfExport(DifferenceKind.None, volume.Name, left[at]));
            left.RemoveAt(at);
        }

        foreach (ExportRecord other in left)
        {
            PlanOther(volume, other, missing);
        }

        if (missing.Count > 0 && VolumeLock.Holder(_directories, volume.Name) is int holder
            && !VolumeLock.IsDaemon(_directories, volume.Name, holder))
        {
            Refuse(
                volume,
                Keys.Exports,
                $"process {holder} works on volume '{volume.Name}', and the daemon cannot serve it: "
                + $"end it first with 'polyblk volume stop {volume.Name}'.");
        }

        foreach (DeclaredExport export in missing)
        {
            Difference what = OfExport(DifferenceKind.Create, volume.Name, export.Wanted) with { Export = null };
            Add(ApplyPhase.Export, what, c => AddExportAsync(what, export.Wanted, c));
        }
    }

    /// <summary>An export that is there, and that the declaration does not name.</summary>
    private void PlanOther(DeclaredVolume volume, ExportRecord other, List<DeclaredExport> missing)
    {
        string id = ExportRecord.IdOf(volume.Name, other.Frontend, other.Index);
        if (!_options.Prune)
        {
            if (missing.Find(m => other.SocketPath is not null && m.Wanted.SocketPath == other.SocketPath) is DeclaredExport same)
            {
                _problems.Add(
                    same.At, $"{Keys.Volumes}.{volume.Name}.{Keys.Exports}",
                    $"the export {id} has the socket {other.SocketPath}, and other settings ({other.Describe()}): "
                    + "--prune replaces it.");
            }

            _notes.Add($"The export {id} ({other.Describe()}) is not in {_declared.Document}, and stays; --prune removes it.");
            return;
        }

        ExportJson? live = _daemon?.Volumes.SelectMany(v => v.Exports).FirstOrDefault(e => e.Id == id)?.Live;

        // A block device tells of no users before it is asked to go; the removal is refused then.
        int sessions = live is { EndpointKind: "unix-socket" } ? live.Statistics?.Sessions ?? 0 : 0;
        if (sessions > 0)
        {
            Refuse(volume, Keys.Exports, string.Create(
                CultureInfo.InvariantCulture,
                $"the export {id} is not named, and is in use by {sessions}: end that, or 'polyblk export remove {id} --force'."));
            return;
        }

        Difference what = OfExport(DifferenceKind.Remove, volume.Name, other);
        Add(ApplyPhase.Remove, what, async c =>
        {
            await new ExportSettings(_directories, _options.Warn).RemoveAsync(id, c).ConfigureAwait(false);
            return what;
        });
    }

    private async Task<Difference> AddExportAsync(Difference what, ExportRecord export, CancellationToken cancellation)
    {
        string id = await new ExportSettings(_directories, _options.Warn).AddAsync(what.Volume, export, cancellation)
            .ConfigureAwait(false);
        return what with { Export = id };
    }

    private static Difference OfExport(DifferenceKind kind, string volume, ExportRecord export) => new(kind, volume)
    {
        Frontend = export.Frontend,
        Export = ExportRecord.IdOf(volume, export.Frontend, export.Index),
        To = kind == DifferenceKind.Create && export.Describe() is { Length: > 0 } words ? words : null,
    };
}
