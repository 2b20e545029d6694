// polyblk-fuzz list                        the targets, one a line
// polyblk-fuzz seeds TARGET FOLDER         writes the inputs to begin with
// polyblk-fuzz replay TARGET PATH...       runs files, or all files of folders; says which fail, and how
// polyblk-fuzz afl TARGET                  runs what afl-fuzz sends (a copy whose assemblies are instrumented: eng/fuzz makes it)

using System.Diagnostics;
using System.Globalization;

namespace Polyblk.Fuzz;

internal static class Program
{
    private static int Main(string[] arguments)
    {
        switch (arguments)
        {
            case ["list"]:
                foreach (IFuzzTarget target in FuzzTargets.All)
                {
                    Console.WriteLine(target.Name);
                }

                return 0;
            case ["seeds", var name, var folder] when FuzzTargets.Find(name) is { } target:
                Directory.CreateDirectory(folder);
                foreach ((string seed, byte[] input) in target.Seeds())
                {
                    File.WriteAllBytes(Path.Combine(folder, seed), input);
                }

                return 0;
            case ["replay", var name, .. var paths] when FuzzTargets.Find(name) is { } target:
                return Replay(target, paths);
            case ["afl", var name] when FuzzTargets.Find(name) is not null:
                return ForkServer.Serve(name);
            case ["afl-child", var name, var control, var status] when FuzzTargets.Find(name) is { } target:
                return ForkServer.RunChild(target, Number(control), Number(status));
            default:
                Console.Error.WriteLine("usage: polyblk-fuzz list | seeds TARGET FOLDER | replay TARGET PATH... | afl TARGET");
                return 2;
        }
    }

    private static int Replay(IFuzzTarget target, string[] paths)
    {
        int failures = 0;
        int count = 0;
        long start = Stopwatch.GetTimestamp();
        foreach (string file in paths.SelectMany(FilesOf))
        {
            count++;
            try
            {
                target.Run(File.ReadAllBytes(file));
            }
#pragma warning disable CA1031 // Whatever a target throws is what this program is for.
            catch (Exception e)
#pragma warning restore CA1031
            {
                failures++;
                Console.WriteLine($"{file}: {e}");
            }
        }

        Console.WriteLine(
            $"{target.Name}: {count} inputs, {failures} failed, {Stopwatch.GetElapsedTime(start).TotalMilliseconds:0} ms");
        return failures == 0 ? 0 : 1;
    }

    private static IEnumerable<string> FilesOf(string path) =>
        Directory.Exists(path) ? Directory.EnumerateFiles(path).Order(StringComparer.Ordinal) : [path];

    private static int Number(string text) => int.Parse(text, CultureInfo.InvariantCulture);
}
