// HTML by interpolation. A hole is escaped unless it holds Html itself, so that a host name or an error message from a kernel can
// never become markup.

using System.Globalization;
using System.Net;
using System.Runtime.CompilerServices;
using System.Text;

namespace Polyblk.Compare.Report;

/// <summary>Text that is HTML already.</summary>
internal readonly record struct Html(string Text)
{
    public static Html Empty { get; } = new(string.Empty);

    /// <summary>HTML from an interpolated string; every hole that is not <see cref="Html"/> is escaped.</summary>
    public static Html Of(ref HtmlInterpolation text) => new(text.ToString());

    /// <summary>One after another.</summary>
    public static Html Join(IEnumerable<Html> parts, string between = "\n") => new(string.Join(between, parts.Select(p => p.Text)));

    public override string ToString() => Text;
}

/// <summary>Collects the parts of an interpolated string and escapes its holes.</summary>
[InterpolatedStringHandler]
internal readonly ref struct HtmlInterpolation
{
    private readonly StringBuilder _text;

    public HtmlInterpolation(int literalLength, int formattedCount) => _text = new StringBuilder(literalLength + (16 * formattedCount));

    public void AppendLiteral(string literal) => _text.Append(literal);

    public void AppendFormatted(Html html) => _text.Append(html.Text);

    public void AppendFormatted(IEnumerable<Html> parts) => _text.Append(Html.Join(parts).Text);

    public void AppendFormatted(string? text) => _text.Append(WebUtility.HtmlEncode(text));

    public void AppendFormatted(int number) => _text.Append(CultureInfo.InvariantCulture, $"{number}");

    public override string ToString() => _text.ToString();
}
