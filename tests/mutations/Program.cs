// Puts the defects of the list into a copy of the last commit, one at a time, builds, and runs the test that must notice. See
// eng/mutate.

using System.Diagnostics;
using Polyblk.Mutations;

string root = args[0];
HashSet<string> wanted = [.. args[1..]];
IReadOnlyList<Mutation> all = Mutation.ReadAll(root);
if (wanted.Except(all.Select(m => m.Name)).ToList() is { Count: > 0 } unknown)
{
    Console.Error.WriteLine($"mutate: there is no mutation {string.Join(", ", unknown)}");
    return 2;
}

string tree = Path.Combine(root, "artifacts", "mutations", "tree");
string log = Path.Combine(root, "artifacts", "mutations", "log");
Directory.CreateDirectory(log);
Run(root, "git", ["worktree", "prune"], null);
if (!Directory.Exists(tree) && Run(root, "git", ["worktree", "add", "--detach", tree], Path.Combine(log, "worktree")) != 0)
{
    return Fail("worktree");
}

if (Run(tree, "git", ["checkout", "--force", "--detach", Head()], Path.Combine(log, "worktree")) != 0)
{
    return Fail("worktree");
}

List<Mutation> chosen = [.. all.Where(m => wanted.Count == 0 || wanted.Contains(m.Name))];
foreach (string project in chosen.Select(m => m.Project).Distinct())
{
    if (Build(project, restore: true, "base") != 0)
    {
        return Fail("base");
    }
}

var survivors = new List<string>();
foreach (Mutation mutation in chosen)
{
    string path = Path.Combine(tree, mutation.File);
    string sound = File.ReadAllText(path);
    File.WriteAllText(path, mutation.Apply(sound));
    string found = Build(mutation.Project, restore: false, mutation.Name) != 0 ? "does not build"
        : Test(mutation) != 0 ? "caught"
        : "SURVIVED";
    File.WriteAllText(path, sound);
    Console.WriteLine($"{mutation.Name,-44} {found}");
    if (found != "caught")
    {
        survivors.Add(mutation.Name);
    }
}

Console.WriteLine($"{chosen.Count - survivors.Count} caught, {survivors.Count} not");
return survivors.Count == 0 ? 0 : 1;

int Build(string project, bool restore, string name) => Run(
    tree,
    "dotnet",
    ["build", project, "-c", "Release", "--nologo", "-v", "q", "-p:RunAnalyzers=false", "-p:TreatWarningsAsErrors=false", .. restore ? (string[])[] : ["--no-restore"]],
    Path.Combine(log, name));

int Test(Mutation mutation)
{
    string project = Path.GetFileNameWithoutExtension(Directory.GetFiles(Path.Combine(tree, mutation.Project), "*.Tests.csproj")[0]);
    string assembly = Path.Combine(tree, "artifacts", "bin", project, "release", project + ".dll");
    return Run(tree, "timeout", ["600", "dotnet", "test", assembly, "--nologo", "--filter", mutation.Filter], Path.Combine(log, mutation.Name));
}

string Head()
{
    using var git = Process.Start(new ProcessStartInfo("git", ["rev-parse", "HEAD"]) { WorkingDirectory = root, RedirectStandardOutput = true })!;
    return git.StandardOutput.ReadToEnd().Trim();
}

int Fail(string name)
{
    Console.Error.WriteLine($"mutate: the copy of the last commit cannot be made or built; see {Path.Combine(log, name)}");
    return 2;
}

static int Run(string folder, string program, IEnumerable<string> arguments, string? log)
{
    using var process = Process.Start(new ProcessStartInfo(program, arguments)
    {
        WorkingDirectory = folder, RedirectStandardOutput = true, RedirectStandardError = true,
    })!;
    Task<string> errors = process.StandardError.ReadToEndAsync();
    string output = process.StandardOutput.ReadToEnd();
    process.WaitForExit();
    if (log is not null)
    {
        File.AppendAllText(log, output + errors.Result);
    }

    return process.ExitCode;
}
