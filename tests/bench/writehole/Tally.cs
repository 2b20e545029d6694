// What was lost, by array and by how many members were missing.

using System.Globalization;

namespace Polyblk.Bench.WriteHole;

/// <summary>Collects what looks found, and prints the table.</summary>
internal sealed class Tally
{
    private sealed record Look(TestedArray Array, int Missing, string How, Damage Damage);

    private readonly List<Look> _looks = [];

    /// <summary>Adds a look.</summary>
    /// <param name="array">At what.</param>
    /// <param name="missing">How many members it lacked.</param>
    /// <param name="without">Which.</param>
    /// <param name="answer">What the guest said of its start: how it came about, and the refusal.</param>
    /// <param name="damage">What it found.</param>
    public void Add(TestedArray array, int missing, string without, string answer, Damage damage)
    {
        _looks.Add(new Look(array, missing, answer.Split(' ')[0], damage));
        Console.Error.WriteLine(
            $"{array}, without {without}: lost {damage.LostSectors} sectors ({damage.Unreadable} zero), "
            + $"{damage.Arrived} blocks written; {answer.Trim()}");
    }

    /// <summary>The table so far.</summary>
    public void Print(TextWriter to, int cuts)
    {
        to.WriteLine(string.Create(CultureInfo.InvariantCulture, $"\n{cuts} cut-offs"));
        to.WriteLine(
            "| array | missing | looks | refused without force | with losses | lost sectors | most at once | written blocks |\n"
            + "|---|---|---|---|---|---|---|---|");
        foreach (var row in _looks.GroupBy(l => (l.Array, l.Missing)).OrderBy(g => g.Key.Array.Level).ThenBy(g => g.Key.Missing))
        {
            Look[] read = [.. row.Where(l => l.How != "refused")];
            IEnumerable<int> lost = read.Select(l => l.Damage.LostSectors);
            object[] cells =
            [
                row.Key.Array, row.Key.Missing, row.Count(), row.Count(l => l.How != "asked"), lost.Count(n => n > 0), lost.Sum(),
                lost.DefaultIfEmpty().Max(), Math.Round(read.Select(l => l.Damage.Arrived).DefaultIfEmpty().Average()),
            ];
            to.WriteLine($"| {string.Join(" | ", cells)} |");
        }
    }
}
