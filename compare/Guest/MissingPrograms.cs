using Polyblk.Compare.Methods;
using Polyblk.Core.Interop;

namespace Polyblk.Compare.Guest;

/// <summary>Programs of this host without which there is no machine.</summary>
internal static class MissingPrograms
{
    /// <summary>Whether all are installed, and with which command those come that are not.</summary>
    public static MethodAvailability Check(params IEnumerable<(string Program, string Package)> needed)
    {
        string[] missing = [.. needed.Where(n => ProgramPath.TryFind(n.Program) is null).Select(n => n.Package).Distinct()];
        return missing.Length == 0 ? MethodAvailability.Yes
            : new MethodAvailability(false, $"{string.Join(" and ", missing)} is not installed", [$"apt-get install {string.Join(' ', missing)}"]);
    }
}
