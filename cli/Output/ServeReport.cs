using Polyblk.Core.Block;
using Polyblk.Frontends;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.Output;

/// <summary>What <c>polyblk serve</c> prints when it is ready.</summary>
internal static class ServeReport
{
    public static void Write(Terminal terminal, VolumeRecord record, LiveJson live, IReadOnlyList<string> notes)
    {
        string chunk = record.ChunkBytes > 0 ? $", chunk {ByteSize.FormatRounded(record.ChunkBytes)}" : string.Empty;
        terminal.WriteLine($"Volume    {live.Volume}: {record.Level}, {record.Drives.Count} drive(s){chunk}, {ByteSize.FormatRounded(live.SizeBytes)}");
        if (live.Array is not null)
        {
            terminal.WriteLine($"Array     {Describe(MemberMemory.Complete(live.Array, record))}");
        }

        string cpus = string.Join(',', live.Reactors.Select(r => r.Cpu));
        terminal.WriteLine($"Reactors  {live.Reactors.Count} on CPU {cpus} ({live.ReactorPlan})");
        foreach (string note in notes)
        {
            terminal.WriteLine($"Note      {note}");
        }

        foreach (ExportJson export in live.Exports)
        {
            terminal.WriteLine();
            WriteExport(terminal, export);
        }

        terminal.WriteLine();
        terminal.WriteLine($"Serving as process {live.Pid}. Ctrl-C or 'polyblk volume stop {live.Volume}' ends it.");
    }

    /// <summary>Where an export is, and how to attach it.</summary>
    public static void WriteExport(Terminal terminal, ExportJson export)
    {
        terminal.WriteLine($"{export.Id}{(export.ReadOnly ? " (read-only)" : string.Empty)} at {export.Endpoint}");
        foreach (string note in export.Notes)
        {
            terminal.WriteLine($"  note: {note}");
        }

        foreach (AttachCommand attach in export.Attach)
        {
            terminal.WriteLine($"  {attach.Consumer}: {attach.Purpose}");
            foreach (string line in attach.Text.Split('\n'))
            {
                terminal.WriteLine($"    {line.TrimEnd()}");
            }
        }
    }

    /// <summary>The health of an array in one line.</summary>
    public static string Describe(ArrayJson array)
    {
        string resync = array.ResyncIsLeft ? ", needs a resync, which a read-only use does not do"
            : array.ResyncProgress is double progress ? $", resync {progress:P0} done" : string.Empty;
        string rebuild = array.Rebuild is ProgressJson { Percent: int percent } ? $", {percent} % rebuilt" : string.Empty;
        string[] odd = [.. array.Members.Where(m => m.State != MemberJson.Present).Select(m => Describe(m))];
        string spares = array.Spares.Count switch
        {
            0 => string.Empty,
            1 => "; 1 spare",
            int many => $"; {many} spares",
        };
        string replaced = array.Replacement is not ReplacementJson replacement ? string.Empty
            : $", member {replacement.Role} is being replaced ({replacement.Copy.Percent} %)";
        return array.Health.Word() + resync + rebuild + replaced + (odd.Length > 0 ? ": " + string.Join(", ", odd) : string.Empty) + spares;
    }

    private static string Describe(MemberJson member)
    {
        string serial = member.Serial is string s ? $", serial {s}" : string.Empty;
        string seen = member.LastDrive is string drive ? $" (last seen at {drive}{serial})" : string.Empty;
        return $"member {member.Role} {member.State}{seen}";
    }
}
