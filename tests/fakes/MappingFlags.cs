using System.Globalization;

namespace Polyblk.Fakes;

/// <summary>What the kernel says of this process's mappings: proc(5), /proc/self/smaps.</summary>
public static unsafe class MappingFlags
{
    private const string DontDump = "dd";
    private const string Flags = "VmFlags:";
    private const string Size = "Size:";

    /// <summary>Whether a core dump leaves out the mapping that holds an address.</summary>
    public static bool IsLeftOutOfDumps(void* address)
    {
        foreach ((nuint first, nuint end, string[] flags) in ReadAll())
        {
            if ((nuint)address >= first && (nuint)address < end)
            {
                return flags.Contains(DontDump);
            }
        }

        throw new ArgumentException("Nothing is mapped there.", nameof(address));
    }

    /// <summary>How much address space core dumps leave out, in bytes.</summary>
    public static long LeftOutOfDumps() => ReadAll().Where(m => m.Flags.Contains(DontDump)).Sum(m => (long)(m.End - m.First));

    private static IEnumerable<(nuint First, nuint End, string[] Flags)> ReadAll()
    {
        (nuint First, nuint End) range = default;
        string before = string.Empty;
        foreach (string line in File.ReadLines("/proc/self/smaps"))
        {
            if (line.StartsWith(Size, StringComparison.Ordinal))
            {
                string[] ends = before.Split(' ')[0].Split('-');
                range = (nuint.Parse(ends[0], NumberStyles.HexNumber, null), nuint.Parse(ends[1], NumberStyles.HexNumber, null));
            }
            else if (line.StartsWith(Flags, StringComparison.Ordinal))
            {
                yield return (range.First, range.End, line[Flags.Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries));
            }

            before = line;
        }
    }
}
