// What a guest's script reported, and the exception that says why a guest is no use.

using System.Text;

namespace Polyblk.Machine;

/// <summary>One reported check: the script's pass, fail or check functions (lib.sh).</summary>
public sealed record GuestCheck(string Name, bool Passed, string Detail);

/// <summary>A guest that failed, ended too early or took too long. The message carries the end of its log.</summary>
public sealed class GuestException : Exception
{
    public GuestException()
    {
    }

    public GuestException(string message)
        : base(message)
    {
    }

    public GuestException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>
    /// Whether the machine itself broke down (QEMU's assertion or segmentation fault, a patch of the kernel's code that the
    /// emulator lost), which says nothing about what ran in it.
    /// </summary>
    public bool IsMachineFault { get; init; }
}

/// <summary>The outcome of a guest's script.</summary>
public sealed class GuestResult(int exitStatus, IReadOnlyList<GuestCheck> checks, string log, string? logPath)
{
    /// <summary>The status the script ended with.</summary>
    public int ExitStatus { get; } = exitStatus;

    /// <summary>The checks in the order of their reports.</summary>
    public IReadOnlyList<GuestCheck> Checks { get; } = checks;

    /// <summary>All that the guest and QEMU wrote.</summary>
    public string Log { get; } = log;

    /// <summary>The check of that name.</summary>
    /// <exception cref="GuestException">There is none.</exception>
    public GuestCheck this[string name] =>
        Checks.FirstOrDefault(check => check.Name == name) ?? throw Failure($"The guest reported no check '{name}'.");

    /// <summary>Throws unless the script ended with 0, every check it reported passed, and it reported all the expected ones:
    /// naming them guards against a script that silently skipped its work.</summary>
    /// <exception cref="GuestException">Says what failed.</exception>
    public void RequireSuccess(params string[] expected)
    {
        var problems = new StringBuilder();
        foreach (GuestCheck check in Checks.Where(check => !check.Passed))
            problems.AppendLine($"check '{check.Name}' failed: {check.Detail}");
        foreach (string name in expected.Except(Checks.Select(check => check.Name)))
            problems.AppendLine($"check '{name}' was not reported");
        if (ExitStatus != 0) problems.AppendLine($"the script ended with status {ExitStatus}");
        if (problems.Length > 0) throw Failure(problems.ToString());
    }

    private GuestException Failure(string what) => new(Explain(what, Log, logPath));

    internal static string Explain(string what, string log, string? logPath) =>
        $"{what}\n{(logPath is null ? "" : $"Log: {logPath}\n")}{Tail(log)}";

    private static string Tail(string log) => string.Join('\n', log.Split('\n').TakeLast(60));
}
