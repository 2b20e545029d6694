using System.Globalization;
using System.Xml.Linq;
using OxyPlot;

namespace Polyblk.Compare.Report;

/// <summary>Turns a chart into SVG that fits into the page: scalable, with a title for screen readers, in the page's colours.</summary>
internal static class SvgChart
{
    private static readonly XNamespace Svg = "http://www.w3.org/2000/svg";

    /// <summary>Draws a chart.</summary>
    /// <param name="model">The chart.</param>
    /// <param name="id">Unique in the page: what is inside the chart is named after it.</param>
    /// <param name="title">What it shows.</param>
    /// <param name="height">Height in the units of <see cref="Charts.Width"/>.</param>
    public static Html Render(PlotModel model, string id, string title, double height)
    {
        string text = new SvgExporter { Width = Charts.Width, Height = height, IsDocument = false, TextMeasurer = new Measurer(Charts.Width, height) }.ExportToString(model);
        XElement root = XDocument.Parse(text).Root!;
        root.SetAttributeValue("width", null);
        root.SetAttributeValue("height", null);
        root.SetAttributeValue("viewBox", string.Create(CultureInfo.InvariantCulture, $"0 0 {Charts.Width} {height}"));
        root.SetAttributeValue("class", "chart");
        root.SetAttributeValue("role", "img");
        root.SetAttributeValue("aria-labelledby", $"{id}-title");
        root.AddFirst(new XElement(Svg + "title", new XAttribute("id", $"{id}-title"), title));
        RemoveEmptyParts(root);
        foreach (XElement element in root.DescendantsAndSelf())
            Adapt(element, id);
        return new Html(root.ToString(SaveOptions.DisableFormatting));
    }

    /// <summary>Groups and clip paths that hold nothing are most of what a small chart consists of.</summary>
    private static void RemoveEmptyParts(XElement root)
    {
        root.Descendants(Svg + "g").Where(g => !g.HasElements).ToList().ForEach(g => g.Remove());
        HashSet<string> used = [.. root.Descendants().Select(e => (string?)e.Attribute("clip-path")).OfType<string>()];
        root.Descendants(Svg + "defs")
            .Where(d => !d.Elements().Any(c => used.Contains($"url(#{(string?)c.Attribute("id")})")))
            .ToList()
            .ForEach(d => d.Remove());
    }

    private static void Adapt(XElement element, string id)
    {
        // Names are global to a page, and each chart calls its clip paths the same.
        if (element.Name == Svg + "clipPath")
            element.SetAttributeValue("id", $"{id}-{(string?)element.Attribute("id")}");
        if ((string?)element.Attribute("clip-path") is string clip)
            element.SetAttributeValue("clip-path", clip.Replace("url(#", $"url(#{id}-", StringComparison.Ordinal));

        // Variables are for declarations; the library writes a text's colour and font as attributes.
        if (element.Name == Svg + "text" && (string?)element.Attribute("fill") is string fill)
        {
            element.SetAttributeValue("fill", null);
            element.SetAttributeValue("font-family", null);
            element.SetAttributeValue("style", $"fill:{Ink.ToVariables(fill)}");
        }
        else if ((string?)element.Attribute("style") is string style)
        {
            element.SetAttributeValue("style", Ink.ToVariables(style));
        }
    }

    /// <summary>
    /// Tells how large a text will be when a browser draws it in Arial or a font of the same widths. The library's own measure is that
    /// of another font and comes out too narrow.
    /// </summary>
    private sealed class Measurer(double width, double height) : PdfRenderContext(width, height, OxyColors.Undefined)
    {
        private const double LineHeight = 1.2;
        private const double Margin = 1.04;

        public override OxySize MeasureText(string text, string fontFamily, double fontSize, double fontWeight)
        {
            string[] lines = (text ?? string.Empty).Split('\n');
            return new OxySize(lines.Max(l => l.Sum(WidthOf)) * Margin * fontSize, lines.Length * LineHeight * fontSize);
        }

        /// <summary>Width of a character in Arial, in units of the font's size.</summary>
        private static double WidthOf(char c) => c switch
        {
            'i' or 'j' or 'l' or '\'' or '|' => 0.222,
            ' ' or ',' or '.' or ':' or ';' or 'f' or 't' or '/' or '!' or 'I' => 0.278,
            'r' or '-' or '(' or ')' => 0.333,
            'c' or 'k' or 's' or 'v' or 'x' or 'y' or 'z' or 'J' => 0.5,
            'm' or 'M' => 0.833,
            'w' => 0.722,
            'W' or '%' or '@' or '…' => 1.0,
            >= 'A' and <= 'Z' => 0.722,
            _ => 0.556,
        };
    }
}
