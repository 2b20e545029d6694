using Polyblk.Compare.Methods;
using Polyblk.Machine;

namespace Polyblk.Compare.Guest;

/// <summary>Programs of this host without which there is no machine.</summary>
internal static class MissingPrograms
{
    /// <summary>Whether all are installed, and with which command those come that are not.</summary>
    public static MethodAvailability Check(params IEnumerable<(string Program, string Package)> needed)
    {
        string[] missing = [.. needed.Where(n => !HostProgram.IsInstalled(n.Program)).Select(n => n.Package).Distinct()];
        return missing.Length == 0 ? MethodAvailability.Yes
            : new MethodAvailability(false, $"{string.Join(" and ", missing)} is not installed", [$"apt-get install {string.Join(' ', missing)}"]);
    }
}
