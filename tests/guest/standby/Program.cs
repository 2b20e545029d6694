// A process that runs command lines of the programs beside it, one after the other, as it is told by lines on standard input.
//
// In an emulated guest the start of a .NET program takes longer than most of what it is started for. A test starts this one while something
// else goes on, and hands it commands later: what serves a volume is then a process of its own, which can be killed, but no start has to be
// waited for. The programs run through their entry points, with their own arguments, output and exit status.
//
// A line is OUTPUT ERRORS STATUS PROGRAM ARGUMENT...: three files (the last one appears when the program has ended, with its status), the
// program's assembly, and words without blanks. The arguments of this process are a first program to run, for its effect on the next ones'
// speed; what it says goes nowhere.

using System.Globalization;
using System.Reflection;
using System.Text;

if (args.Length > 0)
{
    Console.SetOut(TextWriter.Null);
    Console.SetError(TextWriter.Null);
    _ = Run(args);
}

while (Console.In.ReadLine() is { } line)
{
    string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
    using StreamWriter output = Open(words[0]);
    using StreamWriter errors = words[1] == words[0] ? output : Open(words[1]);
    Console.SetOut(output);
    Console.SetError(errors);
    int status = Run(words[3..]);
    string unfinished = words[2] + ".new";
    File.WriteAllText(unfinished, status.ToString(CultureInfo.InvariantCulture) + "\n");
    File.Move(unfinished, words[2], overwrite: true);
}

// Whoever waits for something in the file finds whole lines there.
static StreamWriter Open(string path) => new(path, append: false, new UTF8Encoding(false), bufferSize: 1 << 20) { AutoFlush = true };

static int Run(string[] command)
{
    MethodInfo entry = Assembly.Load(command[0]).EntryPoint!;
    return (int)entry.Invoke(null, [command[1..]])!;
}
