namespace Polyblk.Core.Reactors;

/// <summary>Memory that somebody shares with this process, and in which the data of requests lies.</summary>
public unsafe interface ISharedMemory
{
    /// <summary>First byte, at the start of a page.</summary>
    byte* Address { get; }

    /// <summary>Its length in bytes.</summary>
    ulong SizeBytes { get; }
}
