// Colours of charts. A chart is drawn once and must be readable in light, in dark and on paper, so it is drawn with stand-in colours,
// and in the finished SVG each stand-in becomes a CSS variable of the page (report.css).

using OxyPlot;
using Polyblk.Compare.Results;

namespace Polyblk.Compare.Report;

/// <summary>The colours that a chart may use.</summary>
internal static class Ink
{
    private const byte Mark = 254;

    /// <summary>Colours of methods that the page defines: --m0 to --m7.</summary>
    public const int MethodColors = 8;

    public static OxyColor Text { get; } = Standin(0);

    public static OxyColor Muted { get; } = Standin(1);

    public static OxyColor Grid { get; } = Standin(2);

    public static OxyColor Bare { get; } = Standin(3);

    public static OxyColor Peer { get; } = Standin(4);

    public static OxyColor Unsound { get; } = Standin(5);

    public static OxyColor Target { get; } = Standin(6);

    public static OxyColor Load { get; } = Standin(7);

    private static readonly string[] Fixed = ["ink", "muted", "grid", "bare", "peer", "unsound", "target", "load"];

    /// <summary>The colour of a method: the same in every chart of the page.</summary>
    public static OxyColor Of(Comparison comparison, MethodFacts method) => method.Role switch
    {
        MethodRole.Bare => Bare,
        MethodRole.Peer => Peer,
        _ => Standin((byte)(Fixed.Length + (FrontendIndex(comparison, method) % MethodColors))),
    };

    /// <summary>A number for the marker and dashes of a method: those that share a colour differ in it.</summary>
    public static int StyleOf(Comparison comparison, MethodFacts method)
    {
        int index = FrontendIndex(comparison, method);
        return index + (index / MethodColors);
    }

    /// <summary>The place of a method among those of its role.</summary>
    private static int FrontendIndex(Comparison comparison, MethodFacts method) =>
        comparison.Methods.Where(m => m.Role == method.Role).TakeWhile(m => m.Id != method.Id).Count();

    /// <summary>A declaration with the page's variable in place of each stand-in.</summary>
    public static string ToVariables(string style)
    {
        for (int i = 0; i < Fixed.Length + MethodColors; i++)
        {
            string variable = i < Fixed.Length ? Fixed[i] : $"m{i - Fixed.Length}";
            style = style.Replace($"rgb({Mark},{i},{Mark})", $"var(--{variable})", StringComparison.Ordinal);
        }

        return style;
    }

    private static OxyColor Standin(byte index) => OxyColor.FromRgb(Mark, index, Mark);
}
