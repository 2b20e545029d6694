namespace Polyblk.GuestRig;

/// <summary>
/// What the .NET runtime does for programs that run longer is not worth its price in an emulated machine: profiles of what is
/// compiled, and compiling it again what is called often. Without them a start takes half the time, and a long run costs a tenth
/// less.
/// </summary>
public static class EmulatedRuntime
{
    /// <summary>
    /// Environment variables. The delay, in milliseconds after the start, is hexadecimal: longer than any test.
    /// </summary>
    public static IReadOnlyDictionary<string, string> Settings { get; } = new Dictionary<string, string>
    {
        ["DOTNET_TieredPGO"] = "0",
        ["DOTNET_TC_CallCountingDelayMs"] = "FFFFFF",
        ["DOTNET_gcConcurrent"] = "0",
    };
}
