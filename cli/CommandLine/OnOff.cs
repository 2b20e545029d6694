using System.CommandLine;

namespace Polyblk.Cli.CommandLine;

/// <summary>Options that take on or off.</summary>
internal static class OnOff
{
    /// <summary>The words.</summary>
    public const string On = "on", Off = "off";

    /// <summary>Makes one.</summary>
    public static Option<string?> Option(string name, string description)
    {
        var option = new Option<string?>(name) { HelpName = $"{On}|{Off}", Description = description };
        option.AcceptOnlyFromAmong(On, Off);
        return option;
    }

    /// <summary>What was said; null where nothing was.</summary>
    public static bool? Of(string? word) => word is null ? null : word == On;
}
