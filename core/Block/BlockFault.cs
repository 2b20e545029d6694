namespace Polyblk.Core.Block;

/// <summary>A request that a drive answered with an error.</summary>
/// <param name="Operation">What it was asked for.</param>
/// <param name="OffsetBytes">Where, in bytes of the drive; 0 for a flush.</param>
/// <param name="LengthBytes">How much, in bytes; 0 for a flush.</param>
/// <param name="ErrorNumber">The errno, positive.</param>
public readonly record struct BlockFault(BlockOperation Operation, long OffsetBytes, long LengthBytes, int ErrorNumber)
{
    /// <summary>What was asked, in words: <c>write of 4096 bytes at 8192</c>.</summary>
    public string Request =>
        Operation.Word() + (Operation == BlockOperation.Flush ? string.Empty : $" of {LengthBytes} bytes at {OffsetBytes}");

    /// <summary>In words: <c>write of 4096 bytes at 8192: Input/output error (errno 5)</c>.</summary>
    public override string ToString() => $"{Request}: {BlockIo.DescribeErrno(ErrorNumber)}";
}
