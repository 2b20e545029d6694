using System.Reflection;

namespace Polyblk.Host;

/// <summary>Which program this is.</summary>
public static class ProgramVersion
{
    /// <summary>Its version, with the commit that it was built of where that is known: <c>0.1.0+35713f9d</c>.</summary>
    public static string Text { get; } =
        typeof(ProgramVersion).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion;
}
