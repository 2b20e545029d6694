// What tests/simulation rests on: on the way of an array, time, threads and chance come from outside. Where one of these words
// appears there, a simulation is no longer the same each time.

namespace Polyblk.Architecture.Tests;

public class SimulationTests
{
    /// <summary>Where control tasks run: they stay on the scheduler on which they began.</summary>
    private static readonly string[] s_parts = ["core/Block", "core/Control", "raid"];

    [Theory]
    [InlineData("ConfigureAwait(")]
    [InlineData("Task.Run(")]
    [InlineData("Thread.Sleep")]
    [InlineData("new Thread(")]
    [InlineData("Stopwatch")]
    [InlineData("TickCount")]
    [InlineData("DateTime.")]
    [InlineData("DateTimeOffset.UtcNow")]
    [InlineData("DateTimeOffset.Now")]
    [InlineData("Random.Shared")]
    [InlineData("new Random(")]
    [InlineData("Guid.NewGuid()")]
    public void ControlTasksTakeTimeThreadsAndChanceFromOutside(string word) =>
        Assert.DoesNotContain(Lines("*.cs"), l => l.Text.Contains(word, StringComparison.Ordinal));

    [Fact]
    public void WaitsOfControlTasksAreByTheirClock() => Assert.All(
        Lines("*.cs").Where(l => l.Text.Contains("Task.Delay(", StringComparison.Ordinal)
            || l.Text.Contains(".WaitAsync(s_", StringComparison.Ordinal) && !l.Text.Contains("_signal", StringComparison.Ordinal)),
        l => Assert.Matches("(?i)clock", l.Text));

    [Fact]
    public void TheClockIsReadInOnePlaceOfTheCore() => Assert.All(
        Lines("*.cs", "core").Where(l => l.Text.Contains("Stopwatch.", StringComparison.Ordinal)),
        l => Assert.Equal("core/Reactors/Reactor.cs", l.File));

    private static IEnumerable<(string File, string Text)> Lines(string pattern, params string[] parts) =>
        from part in parts.Length == 0 ? s_parts : parts
        from file in Directory.EnumerateFiles(Path.Combine(Repository.Root, part), pattern, SearchOption.AllDirectories)
        from line in File.ReadLines(file)
        where !line.TrimStart().StartsWith("//", StringComparison.Ordinal)
        select (Path.GetRelativePath(Repository.Root, file), line);
}
