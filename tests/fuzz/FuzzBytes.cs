// Bytes of an input, read from the front: each choice of a target takes as many as it needs, so a mutated byte changes one
// choice.

using System.Buffers.Binary;

namespace Polyblk.Fuzz;

/// <summary>Reads an input. Beyond its end everything is 0.</summary>
public sealed class FuzzBytes(byte[] bytes)
{
    private readonly byte[] _bytes = bytes;
    private int _at;

    /// <summary>Whether nothing is left.</summary>
    public bool IsAtEnd => _at >= _bytes.Length;

    /// <summary>The next byte.</summary>
    public byte Byte() => _at < _bytes.Length ? _bytes[_at++] : (byte)0;

    /// <summary>The next two bytes.</summary>
    public ushort Word() => (ushort)(Byte() | (Byte() << 8));

    /// <summary>The next four bytes.</summary>
    public uint Double() => Word() | ((uint)Word() << 16);

    /// <summary>The next eight bytes.</summary>
    public ulong Quad() => Double() | ((ulong)Double() << 32);

    /// <summary>The next bytes, as many of them as there are.</summary>
    public byte[] Slice(int count)
    {
        int there = Math.Clamp(count, 0, Math.Max(0, _bytes.Length - _at));
        byte[] slice = _bytes[_at..(_at + there)];
        _at += there;
        return slice;
    }
}

/// <summary>Puts an input together that <see cref="FuzzBytes"/> reads.</summary>
public sealed class FuzzWriter
{
    private readonly List<byte> _bytes = [];

    /// <summary>The input.</summary>
    public byte[] ToArray() => [.. _bytes];

    /// <summary>Adds bytes.</summary>
    public FuzzWriter Bytes(params ReadOnlySpan<byte> values)
    {
        _bytes.AddRange(values);
        return this;
    }

    /// <summary>Adds two bytes.</summary>
    public FuzzWriter Word(ushort value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ushort)];
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, value);
        return Bytes(bytes);
    }

    /// <summary>Adds eight bytes.</summary>
    public FuzzWriter Quad(ulong value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        return Bytes(bytes);
    }
}
