// What the page brings along: its style, its scripts, and the licences of the plotting library. The page's content security
// policy allows exactly these by their SHA-256 and forbids every address, so that nothing that slips into the page can run or be
// sent.

using System.Text;
using Polyblk.Core.Block;

namespace Polyblk.Compare.Report;

/// <summary>Reads what is embedded in the program for the page.</summary>
internal static class PageResources
{
    /// <summary>SHA-512 of the library's file, in hexadecimal: a carrier that changes under its version is noticed.</summary>
    internal const string LibrarySha512 = "a32337c99c198628ff8232507a950b1e1da8c88d38ba3654946283c56afba33d6eb760ac26b4cc610c9354eccf46e6e85e2e80d78300c115dd585e118b17b2df";

    private static readonly Lazy<string> s_style = new(() => Read("report.css").Trim());
    private static readonly Lazy<string> s_library = new(() => InScript(Read("echarts.js")));
    private static readonly Lazy<string> s_charts = new(() => InScript(Read("chart-tools.js") + Read("chart-kinds.js") + Read("charts.js")));

    /// <summary>The page's style sheet.</summary>
    public static string Style => s_style.Value;

    /// <summary>
    /// Apache ECharts as its NuGet carrier has it: minified anew, with some lines of the carrier at the end. A test knows its
    /// SHA-512.
    /// </summary>
    public static string Library => s_library.Value;

    /// <summary>The script that draws the charts with it.</summary>
    public static string Charts => s_charts.Value;

    /// <summary>What the licences of the library ask to be passed on with it.</summary>
    public static string Notices => Read("notices.txt") + Read("LICENSE");

    /// <summary>The content security policy of a page with the style and both scripts, each alone in its element.</summary>
    public static string Policy =>
        $"default-src 'none'; script-src {Source(Library)} {Source(Charts)}; style-src {Source(Style)}; img-src data:; base-uri 'none'; form-action 'none'";

    private static string Source(string text) => $"'sha256-{Convert.ToBase64String(Sha256.Hash(Encoding.UTF8.GetBytes(text)))}'";

    /// <summary>A script that a page can hold: these words would end or change the element it stands in.</summary>
    private static string InScript(string script)
    {
        foreach (string word in new[] { "</script", "<script", "<!--", "\r" })
        {
            if (script.Contains(word, StringComparison.OrdinalIgnoreCase))
                throw new InvalidOperationException($"A script of the report contains '{word}' and cannot stand in a page.");
        }

        return script;
    }

    private static string Read(string name)
    {
        using Stream stream = typeof(PageResources).Assembly.GetManifestResourceStream(name)!;
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
