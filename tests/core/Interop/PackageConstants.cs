// Constants that have to be constants of the language, or that are written down twice: as the package has them.

using System.Globalization;
using System.Reflection;
using Tmds.Linux;

namespace Polyblk.Core.Tests.Interop;

/// <summary>Compares constants of ours with those of Tmds.LibC.</summary>
internal static class PackageConstants
{
    /// <summary>Fails where a name that is in both has two values, or where less than so many names are in both.</summary>
    public static void RequireSame(Type type, int least)
    {
        int compared = 0;
        foreach ((string name, object? value) in ValuesOf(type))
        {
            if (ValuesOf(typeof(LibC)).FirstOrDefault(v => v.Name == name) is (not null, object theirs))
            {
                Assert.Equal((name, Number(theirs)), (name, Number(value!)));
                compared++;
            }
        }

        Assert.True(compared >= least, $"Only {compared} names are in both.");
    }

    /// <summary>Constants and properties, but no pointers, which reflection cannot get.</summary>
    private static IEnumerable<(string Name, object? Value)> ValuesOf(Type type) =>
        type.GetFields(BindingFlags.Static | BindingFlags.Public)
            .Where(f => f.IsLiteral).Select(f => (f.Name, f.GetRawConstantValue()))
            .Concat(type.GetProperties(BindingFlags.Static | BindingFlags.Public)
                .Where(p => !p.Name.Any(char.IsLower) && !p.PropertyType.IsPointer)
                .Select(p => (p.Name, p.GetValue(null))));

    private static long Number(object value) => long.Parse(value.ToString()!, CultureInfo.InvariantCulture);
}
