// What happened in a life, as one number: two runs with the same number were the same, to the last event.

using System.Globalization;
using System.Numerics;
using System.Runtime.InteropServices;

namespace Polyblk.Simulation.Tests;

/// <summary>A running hash over every event, and the last of them in words.</summary>
internal sealed class Trace
{
    private const int Kept = 80;

    private readonly Entry[] _last = new Entry[Kept];

    /// <summary>Events so far.</summary>
    public long Count { get; private set; }

    /// <summary>The hash over all of them.</summary>
    public ulong Hash { get; private set; } = 0xCBF29CE484222325;

    /// <summary>Where every event is written, or null.</summary>
    public TextWriter? Log { get; init; }

    /// <summary>Something happened.</summary>
    /// <param name="nowNs">When.</param>
    /// <param name="what">What; a constant.</param>
    /// <param name="a">Of what.</param>
    /// <param name="b">A detail.</param>
    /// <param name="c">A detail.</param>
    /// <param name="d">A detail.</param>
    public void Add(long nowNs, string what, long a = 0, long b = 0, long c = 0, long d = 0)
    {
        var entry = new Entry(nowNs, what, a, b, c, d);
        _last[Count++ % Kept] = entry;
        Mix((ulong)nowNs);
        Mix((ulong)a ^ ((ulong)what.Length << 56) ^ ((ulong)what[0] << 48));
        Mix((ulong)b);
        Mix((ulong)c);
        Mix((ulong)d);
        Log?.WriteLine(entry.ToString());
    }

    /// <summary>The hash of data.</summary>
    public static ulong HashOf(ReadOnlySpan<byte> data)
    {
        // Four words abreast: a multiplication takes longer than the next one waits to begin.
        const ulong prime = 0x100000001B3;
        ReadOnlySpan<ulong> words = MemoryMarshal.Cast<byte, ulong>(data);
        ulong a = 0x9E3779B97F4A7C15, b = 0xC2B2AE3D27D4EB4F, c = 0x165667B19E3779F9, d = 0x27D4EB2F165667C5;
        for (; words.Length >= 4; words = words[4..])
        {
            a = BitOperations.RotateLeft((a ^ words[0]) * prime, 31);
            b = BitOperations.RotateLeft((b ^ words[1]) * prime, 31);
            c = BitOperations.RotateLeft((c ^ words[2]) * prime, 31);
            d = BitOperations.RotateLeft((d ^ words[3]) * prime, 31);
        }

        ulong hash = (ulong)data.Length;
        foreach (ulong word in (ReadOnlySpan<ulong>)[a, b, c, d])
        {
            hash = (hash ^ word) * prime;
            hash ^= hash >> 29;
        }

        foreach (ulong word in words)
        {
            hash = (hash ^ word) * prime;
            hash ^= hash >> 29;
        }

        foreach (byte rest in data[(data.Length & ~7)..])
        {
            hash = (hash ^ rest) * 0x100000001B3;
        }

        return hash;
    }

    /// <summary>The last events, a line each.</summary>
    public string Tail() => string.Join(
        '\n', Enumerable.Range(0, (int)Math.Min(Kept, Count)).Select(i => _last[(Count - Math.Min(Kept, Count) + i) % Kept].ToString()));

    private void Mix(ulong word)
    {
        ulong hash = (Hash ^ word) * 0x9E3779B97F4A7C15;
        Hash = hash ^ (hash >> 32);
    }

    private readonly record struct Entry(long NowNs, string What, long A, long B, long C, long D)
    {
        public override string ToString() =>
            string.Create(CultureInfo.InvariantCulture, $"{NowNs / 1000.0,12:0.000} us  {What} {A} {B} {C} {D:x}");
    }
}
