namespace Polyblk.Core.Block;

/// <summary>What a <see cref="BlockRequest"/> asks for.</summary>
public enum BlockOperation : byte
{
    /// <summary>Fill the request's vectors from the device.</summary>
    Read = 0,

    /// <summary>Write the request's vectors to the device.</summary>
    Write = 1,

    /// <summary>Make every write that completed before this request was submitted durable. Offset and length are 0.</summary>
    Flush = 2,

    /// <summary>The range is no longer needed; its content is undefined afterwards. Advisory, carries no vectors.</summary>
    Discard = 3,

    /// <summary>The range reads as zeroes afterwards; carries no vectors. See <see cref="BlockFlags.Unmap"/>.</summary>
    WriteZeroes = 4,
}

/// <summary>Words for what a request asks for.</summary>
public static class BlockOperations
{
    /// <summary>The word, for messages and for programs: <c>write-zeroes</c>.</summary>
    public static string Word(this BlockOperation operation) => operation switch
    {
        BlockOperation.Read => "read",
        BlockOperation.Write => "write",
        BlockOperation.Flush => "flush",
        BlockOperation.Discard => "discard",
        _ => "write-zeroes",
    };
}

/// <summary>Modifiers of a <see cref="BlockRequest"/>.</summary>
[Flags]
public enum BlockFlags : byte
{
    /// <summary>No modifier.</summary>
    None = 0,

    /// <summary>Force unit access: the data of this write is durable when the request completes.</summary>
    Fua = 1,

    /// <summary>With <see cref="BlockOperation.WriteZeroes"/>: the device may deallocate the range.</summary>
    Unmap = 2,
}

/// <summary>What may be done with the memory behind a request's vectors.</summary>
[Flags]
public enum BufferTraits : byte
{
    /// <summary>Nothing is promised: only the kernel can reach the data, through a registered buffer index.</summary>
    None = 0,

    /// <summary>The vectors hold addresses of this process that the CPU may read and write.</summary>
    CpuAccessible = 1,

    /// <summary>Nobody changes the data while the request is in flight. Guest memory is never stable.</summary>
    Stable = 2,

    /// <summary>
    /// Every vector's address and length is a multiple of the device's <see cref="BlockLimits.BufferAlignment"/>: known
    /// beforehand, so that a drive need not look.
    /// </summary>
    Aligned = 4,
}
