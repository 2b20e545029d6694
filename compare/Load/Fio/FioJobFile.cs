using System.Globalization;
using Polyblk.Compare.Workloads;

namespace Polyblk.Compare.Load.Fio;

/// <summary>A fio job file of the user as a workload.</summary>
public static class FioJobFile
{
    // Of rw=: write, randwrite, rw, readwrite, randrw, trim, trimwrite, randtrim. A job may be any section of the file.
    private static readonly string[] s_overwriting = ["write", "rw", "trim"];

    private static readonly string[] s_waiting = ["stonewall", "wait_for_previous", "wait_for"];

    /// <summary>
    /// Reads it. What it says of block size, depth and jobs is taken for the report; fio itself reads the rest.
    /// </summary>
    /// <exception cref="FormatException">It has no job, or does something that a comparison must not do.</exception>
    public static Workload Read(string name, string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        string[] lines = [.. text.Split('\n').Select(l => l.Trim())];
        if (!lines.Any(l => l.StartsWith('[') && !l.StartsWith("[global]", StringComparison.Ordinal)))
        {
            throw new FormatException("it has no job section such as [read].");
        }

        if (lines.FirstOrDefault(l => l.StartsWith("exec_", StringComparison.Ordinal) || l.StartsWith("include", StringComparison.Ordinal)) is string forbidden)
        {
            throw new FormatException($"'{forbidden}' is not taken in a comparison; write it out.");
        }

        if (lines.FirstOrDefault(l => s_waiting.Contains(l.Split('=')[0].Trim())) is string waiting)
        {
            throw new FormatException($"'{waiting}' lets jobs run one after the other, and their results cannot be one. Make a file of each and give them all: --fio FILE --fio FILE.");
        }

        string[] patterns = [.. Values(lines, "rw"), .. Values(lines, "readwrite")];
        string rw = patterns.FirstOrDefault() ?? "read";
        return new Workload(
            name, patterns.Any(p => s_overwriting.Any(w => p.Contains(w, StringComparison.Ordinal))), rw.StartsWith("rand", StringComparison.Ordinal), Bytes(Value(lines, "bs")), Number(Value(lines, "iodepth")))
        {
            Jobs = Number(Value(lines, "numjobs")), Preset = "custom", FioJobText = text,
        };
    }

    private static IEnumerable<string> Values(string[] lines, string name) =>
        lines.Where(l => l.Split('=')[0].Trim() == name && l.Contains('=', StringComparison.Ordinal)).Select(l => l.Split('=', 2)[1].Trim());

    private static string? Value(string[] lines, string name) => Values(lines, name).FirstOrDefault();

    private static int Number(string? value) => int.TryParse(value, CultureInfo.InvariantCulture, out int number) ? number : 1;

    /// <summary>fio's own default is 4 KiB.</summary>
    private static int Bytes(string? value)
    {
        string text = (value ?? "4k").Split(',')[0].ToUpperInvariant().TrimEnd('B', 'I');
        int factor = text[^1] switch { 'K' => 1 << 10, 'M' => 1 << 20, _ => 1 };
        return int.TryParse(text.TrimEnd('K', 'M'), CultureInfo.InvariantCulture, out int number) ? number * factor : 4 << 10;
    }
}
