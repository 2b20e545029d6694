using Microsoft.Extensions.DependencyInjection;
using Polyblk.Frontends;

namespace Polyblk.Cli;

/// <summary>
/// The frontends of the composition by name. Resolved at the first look: a frontend that is built on another is one itself.
/// </summary>
internal sealed class FrontendCatalog(IServiceProvider services) : IFrontendCatalog
{
    private readonly Lazy<IReadOnlyList<IFrontend>> _all = new(() => [.. services.GetServices<IFrontend>()]);

    public IReadOnlyList<IFrontend> All => _all.Value;

    public IFrontend? Find(string name) => _all.Value.FirstOrDefault(f => f.Name == name);
}
