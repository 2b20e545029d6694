using System.Text;
using Polyblk.Compare.Results;
using Polyblk.Compare.Verdict;

namespace Polyblk.Compare.Report;

/// <summary>Writes what a comparison leaves behind: results.json, results.csv and report.html.</summary>
public static class ReportFiles
{
    public const string ResultsJson = "results.json";
    public const string ResultsCsv = "results.csv";
    public const string ReportHtml = "report.html";

    /// <summary>Writes the files into a folder, which is made if needed. Each appears whole or not at all.</summary>
    /// <returns>The paths.</returns>
    /// <exception cref="ComparisonFormatException">The results contradict themselves; nothing is written.</exception>
    public static async Task<IReadOnlyList<string>> WriteAsync(Comparison comparison, string directory, Purpose purpose, CancellationToken cancellation = default)
    {
        ComparisonCheck.Check(comparison);
        (string Name, string Text)[] files =
        [
            (ResultsJson, ComparisonFile.ToJson(comparison)),
            (ResultsCsv, ComparisonCsv.From(comparison)),
            (ReportHtml, HtmlReport.Render(comparison, purpose)),
        ];
        Directory.CreateDirectory(directory);
        foreach ((string name, string text) in files)
        {
            string path = Path.Combine(directory, name);
            string temporary = $"{path}.{Environment.ProcessId}.tmp";
            try
            {
                await File.WriteAllTextAsync(temporary, text, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false), cancellation).ConfigureAwait(false);
                File.Move(temporary, path, overwrite: true);
            }
            finally
            {
                File.Delete(temporary);
            }
        }

        return [.. files.Select(f => Path.Combine(directory, f.Name))];
    }
}
