namespace Polyblk.GuestRig;

/// <summary>
/// What the .NET runtime does for programs that run longer is not worth its price in an emulated machine: profiles of what is compiled, and compiling it
/// again after few calls. Without them a start takes half the time.
/// </summary>
public static class EmulatedRuntime
{
    /// <summary>Environment variables. The number of calls is hexadecimal.</summary>
    public static IReadOnlyDictionary<string, string> Settings { get; } = new Dictionary<string, string>
    {
        ["DOTNET_TieredPGO"] = "0",
        ["DOTNET_TC_CallCountThreshold"] = "400",
    };
}
