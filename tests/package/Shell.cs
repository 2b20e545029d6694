using System.Diagnostics;

namespace Polyblk.Package.Tests;

/// <summary>Runs programs of the host.</summary>
internal static class Shell
{
    /// <summary>The repository's folder.</summary>
    public static string Repository { get; } = FindRepository();

    /// <summary>The program's file.</summary>
    public static string Program => Path.Combine(Polyblk.Tests.PolyblkCommand.Folder, "polyblk");

    /// <summary>A file of the repository.</summary>
    public static string Source(params string[] parts) => Path.Combine([Repository, .. parts]);

    /// <summary>Runs a program and returns its status and all that it said.</summary>
    public static (int Status, string Output) TryRun(string program, params string[] arguments) => TryRun([], program, arguments);

    /// <summary>The same with variables of the environment.</summary>
    public static (int Status, string Output) TryRun(
        (string Name, string Value)[] environment, string program, params string[] arguments)
    {
        (int status, string output, string errors) = Execute(environment, program, arguments);
        return (status, output + errors);
    }

    /// <summary>Runs a program, which must end with 0, and returns what it printed.</summary>
    public static string Run(string program, params string[] arguments)
    {
        (int status, string output, string errors) = Execute([], program, arguments);
        Assert.True(status == 0, $"{program} {string.Join(' ', arguments)} ended with {status}: {output}{errors}");
        return output;
    }

    private static (int Status, string Output, string Errors) Execute(
        (string Name, string Value)[] environment, string program, string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true,
        };
        foreach ((string name, string value) in environment)
        {
            start.Environment[name] = value;
        }

        using Process process = Process.Start(start)!;
        process.StandardInput.Close();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, errors.Result);
    }

    private static string FindRepository()
    {
        for (string? folder = AppContext.BaseDirectory; folder is not null; folder = Path.GetDirectoryName(folder))
        {
            if (File.Exists(Path.Combine(folder, "Frontends.sln")))
            {
                return folder;
            }
        }

        throw new DirectoryNotFoundException($"No folder above {AppContext.BaseDirectory} holds Frontends.sln.");
    }
}
