namespace Polyblk.Core.Reactors;

/// <summary>What a reactor has done since it started. Counters are read without stopping it and may be some turns old.</summary>
/// <param name="Name">The reactor's name.</param>
/// <param name="Cpu">The processor it is pinned to, or null.</param>
/// <param name="Turns">Turns of the loop.</param>
/// <param name="BusyNs">Nanoseconds in turns that found work (sampled).</param>
/// <param name="SpinNs">Nanoseconds in turns that found none (sampled).</param>
/// <param name="SleepNs">Nanoseconds asleep.</param>
/// <param name="Sleeps">How often it slept.</param>
/// <param name="Requests">Work units that its pollers reported: requests taken.</param>
/// <param name="Faults">Exceptions that reached the loop: each is a bug.</param>
public sealed record ReactorStatistics(
    string Name, int? Cpu, long Turns, long BusyNs, long SpinNs, long SleepNs, long Sleeps, long Requests, long Faults);
