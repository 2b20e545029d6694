// A frontend is its own folder and one line of the composition.

using System.Text.RegularExpressions;
using Microsoft.Extensions.DependencyInjection;
using Polyblk.Frontends;

namespace Polyblk.Architecture.Tests;

public partial class CompositionTests
{
    [Fact]
    public void EveryFrontendWithCodeIsRegisteredByOneLine()
    {
        string composition = File.ReadAllText(Path.Combine(Repository.Root, "cli/Composition.cs"));
        string[] lines = [.. RegistrationLine().Matches(composition).Select(m => m.Groups[1].Value)];
        Assert.Equal(lines.Distinct(), lines);
        string[] written =
        [
            .. Directory.EnumerateFiles(Path.Combine(Repository.Root, "frontends"), "*.cs", SearchOption.AllDirectories)
                .SelectMany(f => ExtensionMethod().Matches(File.ReadAllText(f)))
                .Select(m => m.Groups[1].Value)
                .Order(StringComparer.Ordinal),
        ];
        Assert.Equal(written, lines.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void EachOfThoseLinesBringsOneFrontendWithANameOfItsOwn()
    {
        var services = new ServiceCollection();
        Cli.Composition.AddFrontends(services);
        Assert.All(services.Where(s => s.ServiceType == typeof(IFrontend)), s => Assert.Equal(ServiceLifetime.Singleton, s.Lifetime));
        using ServiceProvider provider = Cli.Composition.Build();
        IFrontend[] frontends = [.. provider.GetServices<IFrontend>()];
        Assert.Equal(services.Count(s => s.ServiceType == typeof(IFrontend)), frontends.Length);
        Assert.Equal(frontends.Length, frontends.Select(f => f.Name).Distinct().Count());
        Assert.All(frontends, f => Assert.Matches("^[a-z][a-z-]*$", f.Name));
        Assert.Equal(frontends.Length, frontends.Select(f => f.GetType().Assembly).Distinct().Count());
    }

    [Fact]
    public void OnlyTheCompositionKnowsFrontendsByName()
    {
        string[] naming =
        [
            .. Directory.EnumerateFiles(Path.Combine(Repository.Root, "cli"), "*.cs", SearchOption.AllDirectories)
                .Where(f => File.ReadAllText(f).Contains("using Polyblk.Frontends.", StringComparison.Ordinal))
                .Select(f => Path.GetRelativePath(Repository.Root, f)),
        ];

        // 'polyblk ublk' is the one command of a frontend's own: kernel devices outlive every process and need somebody who
        // clears them away.
        Assert.Equal(["cli/CommandLine/UblkCommand.cs", "cli/Composition.cs"], naming.Order(StringComparer.Ordinal));
    }

    [GeneratedRegex(@"^\s+services\.(Add\w+)\(\);", RegexOptions.Multiline)]
    private static partial Regex RegistrationLine();

    [GeneratedRegex(@"public static IServiceCollection (Add\w+)\(\s*this IServiceCollection")]
    private static partial Regex ExtensionMethod();
}
