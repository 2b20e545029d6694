// Stripes with three parities and more: encoding, and what is made of each kind of loss.
//
// ISA-L does whatever there is by ec_encode_data, with a row of coefficients for each block that is made; its rows are ours, so
// that both make the same blocks (which is checked before anything is measured), and both make their tables before.

using System.Numerics;
using System.Runtime.InteropServices;
using Polyblk.Raid.Parity;

namespace Polyblk.Parity.Bench;

/// <summary>What is made.</summary>
/// <param name="Name">For people.</param>
/// <param name="Lost">The blocks that are made, one bit each; 0 for the encoding of all parities.</param>
internal sealed record StripeCase(string Name, ulong Lost);

internal sealed unsafe class StripeBench : IDisposable
{
    private readonly byte* _tables;
    private readonly List<IDisposable> _owned = [];
    private readonly int _data, _parity, _chunk;
    private readonly ulong _lost;
    private readonly byte** _sources, _made;

    public StripeBench(ParityKernels[] contestants, int data, int parity, int chunk, StripeSet stripes, StripeCase work)
    {
        (_data, _parity, _chunk) = (data, parity, chunk);
        ulong parities = ((1UL << parity) - 1) << data;
        _lost = work.Lost == 0 ? parities : work.Lost;
        ulong have = ((1UL << (data + parity)) - 1) & ~_lost;
        int rows = BitOperations.PopCount(_lost);
        _tables = (byte*)NativeMemory.Alloc((nuint)(32 * data * rows));
        _sources = (byte**)NativeMemory.Alloc((nuint)(2 * StripeCode.MaxBlocks), (nuint)sizeof(byte*));
        _made = _sources + StripeCode.MaxBlocks;
        if (IsaL.IsInstalled)
        {
            byte[] coefficients = CoefficientsOf(have);
            fixed (byte* c = coefficients) IsaL.InitTables(data, rows, c, _tables);
            Runs.Add(("isa-l", RunIsaL));
        }
        foreach (ParityKernels kernels in contestants)
        {
            if (work.Lost == 0)
            {
                void Encode(nint blocks, byte** copies) =>
                    kernels.Encode((byte**)blocks, copies, data, (byte**)blocks + data, parity, (nuint)chunk);
                Runs.Add((kernels.Name, blocks => Encode(blocks, null)));
                Runs.Add((kernels.Name + " fused copy", blocks => Encode(blocks, stripes.Staging)));
            }
            else
            {
                var solver = new StripeSolver(kernels, data, parity);
                _owned.Add(solver);
                Runs.Add((kernels.Name, blocks => Require(solver.TryRecover((byte**)blocks, have, _lost, (nuint)chunk))));
            }
        }
        CheckAlike(stripes);
    }

    /// <summary>Who does it, ISA-L first when it is there.</summary>
    public List<(string Name, Action<nint> Run)> Runs { get; } = [];

    /// <summary>The encoding, and losses of data and of parities.</summary>
    public static IEnumerable<StripeCase> Cases(int data, int parity)
    {
        yield return new StripeCase("encoding", 0);
        ulong p = 1UL << data;
        for (int lost = 1; lost <= parity; lost++)
        {
            ulong blocks = 0;
            for (int i = 0; i < lost; i++) blocks |= 1UL << (1 + i * (data - 2) / Math.Max(1, parity - 1));
            yield return new StripeCase($"recovery of {lost} data", blocks);
            ulong fewer = blocks & (blocks - 1);
            yield return new StripeCase($"recovery of {lost - 1} data and P", fewer | p);
            yield return new StripeCase($"recovery of {lost - 1} data and Q", fewer | p << 1);
        }
    }

    public void Dispose()
    {
        _owned.ForEach(owned => owned.Dispose());
        NativeMemory.Free(_tables);
        NativeMemory.Free(_sources);
    }

    private static void Require(bool recovered)
    {
        if (!recovered) throw new InvalidOperationException("Too few blocks are left.");
    }

    /// <summary>
    /// ISA-L reads what is left of the data and the parities from the first on that is there, as the solver does.
    /// </summary>
    private void RunIsaL(nint list)
    {
        var blocks = (byte**)list;
        int count = 0, made = 0;
        for (int i = 0; i < _data + _parity; i++)
        {
            if (((_lost >> i) & 1) != 0) _made[made++] = blocks[i];
            else if (count < _data) _sources[count++] = blocks[i];
        }
        IsaL.Encode(_chunk, _data, made, _tables, _sources, _made);
    }

    /// <summary>
    /// The coefficients of each source in each lost block: what the solver makes of blocks of which one byte is 1.
    /// </summary>
    private byte[] CoefficientsOf(ulong have)
    {
        using var solver = new StripeSolver(ParityKernels.Select(ParityKernels.Scalar), _data, _parity);
        int rows = BitOperations.PopCount(_lost);
        var coefficients = new byte[rows * _data];
        byte* bytes = stackalloc byte[StripeCode.MaxBlocks];
        byte** pointers = stackalloc byte*[StripeCode.MaxBlocks];
        for (int i = 0; i < StripeCode.MaxBlocks; i++) pointers[i] = bytes + i;
        int source = 0;
        for (int i = 0; i < _data + _parity && source < _data; i++)
        {
            if (((have >> i) & 1) == 0) continue;
            new Span<byte>(bytes, StripeCode.MaxBlocks).Clear();
            bytes[i] = 1;
            Require(solver.TryRecover(pointers, have, _lost, 1));
            int row = 0;
            for (ulong left = _lost; left != 0; left &= left - 1)
                coefficients[row++ * _data + source] = bytes[BitOperations.TrailingZeroCount(left)];
            source++;
        }
        return coefficients;
    }

    /// <summary>All make the same of a stripe.</summary>
    private void CheckAlike(StripeSet stripes)
    {
        var blocks = (byte**)stripes.Next();
        byte[]? first = null;
        foreach (var (name, run) in Runs)
        {
            for (ulong left = _lost; left != 0; left &= left - 1)
                new Span<byte>(blocks[BitOperations.TrailingZeroCount(left)], _chunk).Clear();
            run((nint)blocks);
            var all = new List<byte>();
            for (ulong left = _lost; left != 0; left &= left - 1)
                all.AddRange(new Span<byte>(blocks[BitOperations.TrailingZeroCount(left)], _chunk));
            first ??= [.. all];
            if (!first.AsSpan().SequenceEqual(CollectionsMarshal.AsSpan(all)))
                throw new InvalidOperationException($"{name} makes something else.");
        }
    }
}
