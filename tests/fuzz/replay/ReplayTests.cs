// What fuzzing has found stays found: the minimised corpus of each target runs through it, and so does every input that once
// broke something.
//
// An input that touches memory which is nobody's ends the process of these tests; the run then counts as failed, and the
// runtime's report names the place. 'dotnet run --project tests/fuzz -- replay TARGET FILE' repeats one input.

namespace Polyblk.Fuzz.Tests;

public sealed class ReplayTests
{
    private static readonly string s_root = Path.Combine(FindRoot(), "tests", "fuzz");

    public static TheoryData<string> Targets => [.. FuzzTargets.All.Select(t => t.Name)];

    public static TheoryData<string, string> Crashes
    {
        get
        {
            var crashes = new TheoryData<string, string>();
            foreach (IFuzzTarget target in FuzzTargets.All)
            {
                foreach (string file in FilesOf("crashes", target.Name))
                {
                    crashes.Add(target.Name, Path.GetFileName(file));
                }
            }

            return crashes;
        }
    }

    [Theory]
    [MemberData(nameof(Targets))]
    public void TheCorpusPasses(string name)
    {
        IFuzzTarget target = FuzzTargets.Find(name)!;
        string[] files = FilesOf("corpus", name);
        Assert.NotEmpty(files);
        foreach (string file in files)
        {
            Run(target, file, File.ReadAllBytes(file));
        }

        foreach ((string seed, byte[] input) in target.Seeds())
        {
            Run(target, seed, input);
        }
    }

    [Theory]
    [MemberData(nameof(Crashes))]
    public void WhatBrokeItOncePasses(string name, string file) =>
        Run(FuzzTargets.Find(name)!, file, File.ReadAllBytes(Path.Combine(s_root, "crashes", name, file)));

    [Theory]
    [MemberData(nameof(Targets))]
    public void AnyInputWillDo(string name)
    {
        IFuzzTarget target = FuzzTargets.Find(name)!;
        Run(target, "nothing", []);
        Run(target, "zeroes", new byte[300]);
        Run(target, "ones", [.. Enumerable.Repeat((byte)0xFF, 300)]);
    }

    [Theory]
    [InlineData("corpus")]
    [InlineData("crashes")]
    public void EveryFolderIsATargets(string kind)
    {
        string[] folders = [.. Directory.EnumerateDirectories(Path.Combine(s_root, kind)).Select(f => Path.GetFileName(f)!)];
        Assert.Subset(FuzzTargets.All.Select(t => t.Name).ToHashSet(), folders.ToHashSet());
    }

    private static void Run(IFuzzTarget target, string name, byte[] input)
    {
        try
        {
            target.Run(input);
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"{target.Name}: {name}: {e.Message}", e);
        }
    }

    private static string[] FilesOf(string kind, string target)
    {
        string folder = Path.Combine(s_root, kind, target);
        return Directory.Exists(folder) ? [.. Directory.EnumerateFiles(folder).Order(StringComparer.Ordinal)] : [];
    }

    private static string FindRoot()
    {
        string? directory = AppContext.BaseDirectory;
        while (directory is not null && !File.Exists(Path.Combine(directory, "Frontends.sln")))
        {
            directory = Path.GetDirectoryName(directory);
        }

        return directory ?? throw new InvalidOperationException("Frontends.sln is in no folder above the test.");
    }
}
