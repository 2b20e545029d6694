// System calls have one place, so that one rule about errors holds for all of them (core/Interop/Libc.cs).

namespace Polyblk.Architecture.Tests;

public class ImportTests
{
    /// <summary>The one place of libc, and a library of which only the comparator knows.</summary>
    private static readonly string[] s_allowed = ["compare/Clients/Blkio/LibBlkio.cs", "core/Interop/Libc.Imports.cs"];

    private static readonly string[] s_parts = ["core", "drives", "virtio", "raid", "frontends", "machine", "compare", "host", "api", "cli"];

    [Fact]
    public void FunctionsOfLibrariesAreImportedInOnePlace()
    {
        Assert.Equal(s_allowed, FilesWith("[LibraryImport", "[DllImport", "InteropServices.LibraryImport", "InteropServices.DllImport"));
    }

    [Fact]
    public void OnlyTheCoresInteropAndTheRingAndTheDrivesKnowTheFunctionsOfThePackage()
    {
        // Structures are everybody's; functions report errors in another way than the wrappers.
        Assert.All(FilesWith("LibC."), f => Assert.Matches("^(core/Interop/.*|core/Uring/UringAbi|drives/DriveCalls)(\\.cs)?$", f));
    }

    private static string[] FilesWith(params string[] words) =>
    [
        .. s_parts.SelectMany(part => Directory.EnumerateFiles(Path.Combine(Repository.Root, part), "*.cs", SearchOption.AllDirectories))
            .Where(f => File.ReadLines(f).Any(line =>
                !line.TrimStart().StartsWith("//", StringComparison.Ordinal)
                && words.Any(word => line.Contains(word, StringComparison.Ordinal))))
            .Select(f => Path.GetRelativePath(Repository.Root, f))
            .Order(StringComparer.Ordinal),
    ];
}
