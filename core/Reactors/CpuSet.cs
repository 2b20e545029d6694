using System.Numerics;
using Polyblk.Core.Interop;

namespace Polyblk.Core.Reactors;

/// <summary>A set of processors, in the kernel's list format (<c>0-3,8</c>; cpuset(7), "List format").</summary>
public sealed class CpuSet
{
    /// <summary>Highest processor number + 1 that is understood.</summary>
    public const int MaxCpus = 4096;

    private readonly int[] _cpus;

    private CpuSet(int[] cpus) => _cpus = cpus;

    /// <summary>The processors, ascending.</summary>
    public IReadOnlyList<int> Cpus => _cpus;

    /// <summary>Parses a list such as <c>2-5</c> or <c>0,2,4-6</c>.</summary>
    /// <exception cref="FormatException">The text is not such a list.</exception>
    public static CpuSet Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var cpus = new SortedSet<int>();
        foreach (string part in text.Split(',', StringSplitOptions.TrimEntries))
        {
            string[] ends = part.Split('-');
            if (ends.Length > 2 || !int.TryParse(ends[0], out int first) || !int.TryParse(ends[^1], out int last)
                || first < 0 || last < first || last >= MaxCpus)
            {
                throw new FormatException($"'{text}' is no processor list: write it like 2-5 or 0,2,4-6.");
            }

            for (int cpu = first; cpu <= last; cpu++)
            {
                cpus.Add(cpu);
            }
        }

        return new CpuSet([.. cpus]);
    }

    /// <summary>The processors on which the calling thread may run (its affinity, which a cpuset or container limits).</summary>
    public static unsafe CpuSet Allowed()
    {
        Span<ulong> mask = stackalloc ulong[MaxCpus / 64];
        int rc;
        fixed (ulong* p = mask)
        {
            rc = Libc.sched_getaffinity((nuint)(mask.Length * sizeof(ulong)), p);
        }

        if (rc < 0)
        {
            throw new IOException($"sched_getaffinity failed: errno {-rc}.");
        }

        var cpus = new List<int>();
        for (int word = 0; word < mask.Length; word++)
        {
            for (ulong bits = mask[word]; bits != 0; bits &= bits - 1)
            {
                cpus.Add((word * 64) + BitOperations.TrailingZeroCount(bits));
            }
        }

        return new CpuSet([.. cpus]);
    }

    /// <summary>The processors of this set that are not among the given ones; the whole set when none would be left.</summary>
    public CpuSet Without(IEnumerable<int> cpus)
    {
        int[] rest = [.. _cpus.Except(cpus)];
        return rest.Length == 0 ? this : new CpuSet(rest);
    }

    /// <summary>Binds the calling thread to one processor. Returns 0 or a negative errno.</summary>
    public static int PinCurrentThread(int cpu) => new CpuSet([cpu]).PinCurrentThread();

    /// <summary>Binds the calling thread to this set. Returns 0 or a negative errno.</summary>
    public unsafe int PinCurrentThread()
    {
        ulong* mask = stackalloc ulong[MaxCpus / 64];
        return Libc.sched_setaffinity((nuint)WriteMask(mask), mask);
    }

    /// <summary>Writes the set as the kernel's bit mask and returns its length in bytes.</summary>
    /// <param name="mask">Room for <see cref="MaxCpus"/> bits.</param>
    internal unsafe int WriteMask(ulong* mask)
    {
        new Span<ulong>(mask, MaxCpus / 64).Clear();
        foreach (int cpu in _cpus)
        {
            mask[cpu / 64] |= 1UL << (cpu % 64);
        }

        return MaxCpus / 8;
    }

    /// <inheritdoc/>
    public override string ToString() => string.Join(',', _cpus);
}
