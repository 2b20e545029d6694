namespace Polyblk.Frontends;

/// <summary>Finds frontends by name, so that one can be built on another without knowing it.</summary>
public interface IFrontendCatalog
{
    /// <summary>Every frontend of this program, in the order of registration.</summary>
    IReadOnlyList<IFrontend> All { get; }

    /// <summary>The frontend of that name, or null.</summary>
    IFrontend? Find(string name);
}
