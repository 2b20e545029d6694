using Polyblk.Compare.Results;
using Polyblk.Compare.Verdict;

namespace Polyblk.Compare.Report;

/// <summary>What is said of methods besides their speed.</summary>
internal static class MethodSections
{
    public static Html Features(Comparison comparison, IReadOnlyList<ComparedRow> rows, PageCharts charts)
    {
        MethodFacts[] methods = [.. comparison.Methods.Where(m => m.Role == MethodRole.Frontend), .. comparison.Methods.Where(m => m.Role == MethodRole.Peer)];
        if (methods.Length == 0)
            return Html.Empty;
        string[] titles = [.. methods[0].Features.All().Select(f => f.Title)];
        return Html.Of($"""
            <p>Of this program's frontends, yes and no were tried by its tests; {Figures.None} was not. Of peers they are what their documentation says. What depends on the kernel is said for Linux {comparison.Environment.Kernel}.</p>
            {Parts.FoldedTable(
                "Features by method, and what each needs of the host",
                ["Method", .. titles, "needs"],
                methods.Select(m => (IReadOnlyList<Html>)
                [
                    Html.Of($"{comparison.TitleOf(m)} {(m.Role == MethodRole.Peer ? Parts.Badge("plain", "peer") : Html.Empty)}"),
                    .. m.Features.All().Select(f => f.State switch { true => Parts.Badge("good", "yes"), false => Parts.Badge("bad", "no"), null => Parts.Text(Figures.None) }),
                    Parts.Text(m.Needs.All().Any() ? string.Join(", ", m.Needs.All()) : "nothing"),
                ]),
                isText: true)}
            """);
    }

    public static Html Availability(Comparison comparison, IReadOnlyList<ComparedRow> rows, PageCharts charts) => Parts.FoldedTable(
        "Every method that was asked for, and whether it could be measured",
        ["Method", "Measured", "From", "Driven by", "Data", "Copy mode", "Why not, and what would make it run"],
        comparison.Methods.Select(m => (IReadOnlyList<Html>)
        [
            Html.Of($"{comparison.TitleOf(m)}<small class=\"id\">{m.Id}</small>{(m.Description is string what ? Html.Of($"<small>{what}</small>") : Html.Empty)}"),
            Measured(m, rows),
            Parts.Text(m.Vantage == Vantage.Guest ? "inside the VM" : "the host"),
            Parts.Text(m.Load ?? Figures.None),
            Data(m),
            Parts.Text(m.CopyMode ?? Figures.None),
            m.Available ? Parts.Text(m.Reason ?? (comparison.FailedRuns.Any(r => r.Method == m.Id) ? Sentences.FailedRuns(comparison, [.. comparison.FailedRuns.Where(r => r.Method == m.Id)]) : Figures.None))
                : Html.Of($"{m.Reason}{(m.Remedies.Count == 0 ? Html.Empty : Html.Of($"<ul class=\"remedies\">{m.Remedies.Select(r => Html.Of($"<li><code>{r}</code></li>"))}</ul>"))}"),
        ]),
        isText: true);

    public static Html Restarts(Comparison comparison, IReadOnlyList<ComparedRow> rows, PageCharts charts) => comparison.Restarts.Count == 0
        ? Html.Of($"<p>No target was killed in this comparison, so nothing is known about restarts.</p>")
        : Html.Of($"""
            <p>The target was killed with SIGKILL while the load ran, and started again with the same command. The gap is the longest time without a completed request.</p>
            {Parts.FoldedTable(
                "Restart under load",
                ["Method", "Gap", "Failed requests", "Data afterwards", "Remark"],
                comparison.Restarts.Select(r => (IReadOnlyList<Html>)
                [
                    Parts.Text(comparison.TitleOf(comparison.Method(r.Method))),
                    r.DidNotComeBack ? Parts.Badge("bad", "did not come back") : Parts.Text(r.GapMs is double gap ? $"{Figures.Number(gap)} ms" : "not measured"),
                    r.GapMs is null && r.IoErrors == 0 ? Parts.Text(Figures.None) : Parts.Badge(r.IoErrors == 0 ? "good" : "bad", Figures.Count(r.IoErrors)),
                    r.Verification switch { Verification.Passed => Parts.Badge("good", "right"), Verification.Failed => Parts.Badge("bad", "wrong"), _ => Parts.Text("not checked") },
                    Parts.Text(r.Detail ?? Figures.None),
                ]),
                isText: true)}
            """);

    public static Html Commands(Comparison comparison, IReadOnlyList<ComparedRow> rows, PageCharts charts) => Html.Of($"""
        {(comparison.Settings.CommandLine is string typed ? Html.Of($"<p>The comparison itself:</p><div class=\"box\" tabindex=\"0\" role=\"region\" aria-label=\"Command of the comparison\"><pre>{typed}</pre></div>") : Html.Empty)}
        {comparison.Methods.Where(m => m.Commands.Count > 0).Select(m => Html.Of($"""
            <details><summary>{comparison.TitleOf(m)}</summary><div class="box" tabindex="0" role="region" aria-label="Commands of {comparison.TitleOf(m)}"><pre>{string.Join('\n', m.Commands)}</pre></div></details>
            """))}
        """);

    private static Html Measured(MethodFacts method, IReadOnlyList<ComparedRow> rows) =>
        !method.Available ? Parts.Badge("plain", "no")
        : rows.Any(r => r.Method.Id == method.Id) ? Parts.Badge("good", "yes")
        : Parts.Badge("bad", "no run");

    private static Html Data(MethodFacts method) => method.Verification switch
    {
        Verification.Passed => Html.Of($"{Parts.Badge("good", "verified")} {method.VerificationDetail}"),
        Verification.Failed => Html.Of($"{Parts.Badge("bad", "wrong")} {method.VerificationDetail}"),
        _ => Parts.Text("not verified"),
    };
}
