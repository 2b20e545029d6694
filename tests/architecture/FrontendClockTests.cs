// Doors wait and give up by a clock that is given to them (ExportContext.Clock, or the reactor's): a test needs no patience to
// see it.

using System.Text.RegularExpressions;

namespace Polyblk.Architecture.Tests;

public partial class FrontendClockTests
{
    [Theory]
    [InlineData("Stopwatch")]
    [InlineData("TickCount")]
    [InlineData("DateTime.")]
    [InlineData("DateTimeOffset.")]
    [InlineData("Thread.Sleep")]
    [InlineData("PeriodicTimer")]
    [InlineData("new Timer(")]
    [InlineData("CancelAfter(")]
    [InlineData("WaitOne(")]
    public void TimeIsTakenFromNowhereElse(string word) =>
        Assert.DoesNotContain(Lines(), l => l.Text.Contains(word, StringComparison.Ordinal));

    [Fact]
    public void WhatWaitsForATimeNamesItsClock() =>
        Assert.All(Lines().Where(l => WaitsForATime().IsMatch(l.Text)), l => Assert.Matches("(?i)clock", l.Text));

    [Fact]
    public void TheSystemsClockIsADefaultInFewPlaces() => Assert.Equal(
        ["frontends/contract/ExportSpec.cs", "frontends/contract/SessionLog.cs", "frontends/ublk/UblkControl.cs"],
        Lines().Where(l => l.Text.Contains("TimeProvider.System", StringComparison.Ordinal)).Select(l => l.File).Distinct().Order(StringComparer.Ordinal));

    /// <summary>
    /// A delay, a source of cancellation with a time, or a wait with something else than the caller's cancellation.
    /// </summary>
    [GeneratedRegex(@"Task\.Delay\(|new CancellationTokenSource\([^)]|(?<!_context)\.(WaitAsync|Wait)\((?!cancellation\)|_stop\.Token\)|\))")]
    private static partial Regex WaitsForATime();

    private static IEnumerable<(string File, string Text)> Lines() =>
        from file in Directory.EnumerateFiles(Path.Combine(Repository.Root, "frontends"), "*.cs", SearchOption.AllDirectories)
        from line in File.ReadLines(file)
        where !line.TrimStart().StartsWith("//", StringComparison.Ordinal)
        select (Path.GetRelativePath(Repository.Root, file), line);
}
