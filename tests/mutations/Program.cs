// Puts the defects of the list into a copy of the last commit, one at a time, and runs the test that must notice. See eng/mutate.
//
// All test projects are built once, and each test that is named must pass as things are: what fails anyway would catch everything. A
// mutation is one compilation then: of the project whose file it changes, whose assembly goes to the test project's output.

using System.Diagnostics;
using Polyblk.Mutations;

string root = args[0];
string compiler = args[1];
HashSet<string> wanted = [.. args[2..]];
IReadOnlyList<Mutation> all = Mutation.ReadAll(root);
if (wanted.Except(all.Select(m => m.Name)).ToList() is { Count: > 0 } unknown)
{
    Console.Error.WriteLine($"mutate: there is no mutation {string.Join(", ", unknown)}");
    return 2;
}

string tree = Path.Combine(root, "artifacts", "mutations", "tree");
string logs = Path.Combine(root, "artifacts", "mutations", "log");
string output = Path.Combine(tree, "artifacts", "bin");
Directory.CreateDirectory(logs);
Run(root, "git", ["worktree", "prune"], "worktree");
if ((!Directory.Exists(tree) && Run(root, "git", ["worktree", "add", "--detach", tree], "worktree") != 0)
    || Run(tree, "git", ["checkout", "--force", "--detach", Head()], "worktree") != 0)
{
    return Fail("the copy of the last commit cannot be made", "worktree");
}

List<Mutation> chosen = [.. all.Where(m => wanted.Count == 0 || wanted.Contains(m.Name))];
foreach (string project in chosen.Select(m => m.Project).Distinct())
{
    if (Build(project, "base") != 0)
    {
        return Fail($"the last commit's {project} does not build", "base");
    }
}

foreach (IGrouping<string, Mutation> named in chosen.GroupBy(m => m.Project))
{
    string filter = string.Join('|', named.Select(m => m.Filter).Distinct());
    if (Test(named.Key, filter, "base") != 0 || !File.ReadAllText(LogOf("base")).TrimEnd().Split('\n')[^1].Contains("Passed!", StringComparison.Ordinal))
    {
        return Fail($"a test of {named.Key} does not pass without a mutation", "base");
    }
}

int survivors = 0;
foreach (Mutation mutation in chosen)
{
    long started = Stopwatch.GetTimestamp();
    string found = Try(mutation);
    survivors += found == "caught" ? 0 : 1;
    Console.WriteLine($"{mutation.Name,-48} {found,-14} {Stopwatch.GetElapsedTime(started).TotalSeconds,5:F0} s");
}

Console.WriteLine($"{chosen.Count - survivors} caught, {survivors} not");
return survivors == 0 ? 0 : 1;

string Try(Mutation mutation)
{
    string path = Path.Combine(tree, mutation.File);
    string sound = File.ReadAllText(path);
    string owner = OwnerOf(path);
    string name = Path.GetFileNameWithoutExtension(owner);
    string made = Path.Combine(output, name, "release", name + ".dll");
    string used = Path.Combine(output, NameOfTests(mutation.Project), "release", name + ".dll");
    byte[] soundAssembly = File.ReadAllBytes(used);
    try
    {
        File.WriteAllText(path, mutation.Apply(sound));
        if (Build(owner, mutation.Name, "--no-restore", "-p:BuildProjectReferences=false") != 0)
        {
            return "DOES NOT BUILD";
        }

        File.Copy(made, used, overwrite: true);
        return Test(mutation.Project, mutation.Filter, mutation.Name) != 0 ? "caught" : "SURVIVED";
    }
    finally
    {
        File.WriteAllText(path, sound);
        File.WriteAllBytes(made, soundAssembly);
        File.WriteAllBytes(used, soundAssembly);
    }
}

int Build(string project, string log, params string[] more) => Run(
    tree,
    "dotnet",
    [
        "build", project, "-c", "Release", "--nologo", "-v", "q", "-p:RunAnalyzers=false", "-p:TreatWarningsAsErrors=false", "-p:LinkLater=true",
        "-p:UseSharedCompilation=true", $"-p:SharedCompilationId={compiler}", .. more,
    ],
    log);

// What hangs is caught too: the tests that are named take less than a minute, and all of a project a few.
int Test(string project, string filter, string log) => Run(
    tree,
    "timeout",
    [
        "-k", "5", log == "base" ? "900" : "300", "dotnet", "test", Path.Combine(output, NameOfTests(project), "release", NameOfTests(project) + ".dll"), "--nologo",
        "--filter", filter, "--", "xUnit.StopOnFail=true",
    ],
    log);

string NameOfTests(string project) => Path.GetFileNameWithoutExtension(Directory.GetFiles(Path.Combine(tree, project), "*.Tests.csproj")[0]);

static string OwnerOf(string path)
{
    for (string? folder = Path.GetDirectoryName(path); folder is not null; folder = Path.GetDirectoryName(folder))
    {
        if (Directory.GetFiles(folder, "*.csproj") is [string project])
        {
            return project;
        }
    }

    throw new FileNotFoundException("no project", path);
}

string Head()
{
    using var git = Process.Start(new ProcessStartInfo("git", ["rev-parse", "HEAD"]) { WorkingDirectory = root, RedirectStandardOutput = true })!;
    return git.StandardOutput.ReadToEnd().Trim();
}

string LogOf(string name) => Path.Combine(logs, name + ".log");

int Fail(string what, string log)
{
    Console.Error.WriteLine($"mutate: {what}; see {LogOf(log)}");
    return 2;
}

int Run(string folder, string program, IEnumerable<string> arguments, string log)
{
    using var process = Process.Start(new ProcessStartInfo(program, arguments)
    {
        WorkingDirectory = folder, RedirectStandardOutput = true, RedirectStandardError = true,
    })!;
    Task<string> errors = process.StandardError.ReadToEndAsync();
    string text = process.StandardOutput.ReadToEnd();
    process.WaitForExit();
    File.AppendAllText(LogOf(log), errors.Result + text);
    return process.ExitCode;
}
