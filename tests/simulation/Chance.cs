
using Polyblk.Drives.Simulated;

namespace Polyblk.Simulation.Tests;

/// <summary>The only source of choices in a life: everything else follows from its seed.</summary>
internal sealed class Chance(ulong seed)
{
    private SeededRandom _random = new(seed);

    /// <summary>0 to <paramref name="bound"/> - 1.</summary>
    public int Next(int bound) => (int)_random.Next(bound);

    /// <summary>Between both, each included.</summary>
    public int Between(int least, int most) => least + Next(most - least + 1);

    /// <summary>Between both, each included; small ones are as likely as large ones.</summary>
    public int Spread(int least, int most) =>
        Math.Min(most, (int)(least * Math.Pow((double)(most + 1) / least, Next(1 << 20) / (double)(1 << 20))));

    /// <summary>True once in so many times.</summary>
    public bool OneIn(int times) => Next(times) == 0;

    /// <summary>One of several.</summary>
    public T Of<T>(params ReadOnlySpan<T> choices) => choices[Next(choices.Length)];

    /// <summary>The seed of something that makes choices of its own.</summary>
    public ulong Seed() => _random.Next();

    /// <summary>A UUID.</summary>
    public Guid Uuid()
    {
        Span<byte> bytes = stackalloc byte[16];
        BitConverter.TryWriteBytes(bytes, Seed());
        BitConverter.TryWriteBytes(bytes[8..], Seed() | 1);
        return new Guid(bytes);
    }
}
