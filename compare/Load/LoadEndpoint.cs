using Polyblk.Core.Block;

namespace Polyblk.Compare.Load;

/// <summary>
/// Where a load is directed to. Each kind is driven by the load generators that say so (<see cref="ILoadGenerator.CanDrive"/>).
/// </summary>
/// <param name="SizeBytes">How much of it may be read and written.</param>
public abstract record LoadEndpoint(long SizeBytes)
{
    /// <summary>
    /// What it holds and has to keep: it is verified by reading, and no load writes to it. Null where it may be overwritten.
    /// </summary>
    public KeptContent? Kept { get; init; }

    /// <summary>The client that it takes, for those who have none.</summary>
    public virtual string ClientNeeded => "fio";

    /// <summary>Where that is, for the report.</summary>
    public abstract string Place { get; }
}

/// <summary>A vhost-user-blk socket.</summary>
public sealed record VhostUserEndpoint(string SocketPath, int Queues, long SizeBytes) : LoadEndpoint(SizeBytes)
{
    /// <inheritdoc/>
    public override string Place => SocketPath;
}

/// <summary>A file, driven by this program's own I/O core.</summary>
public sealed record FileEndpoint(string Path, long SizeBytes) : LoadEndpoint(SizeBytes)
{
    /// <inheritdoc/>
    public override string Place => Path;
}

/// <summary>A device that is open in this process: an array without a frontend. Its owner closes it.</summary>
public sealed record DeviceEndpoint(IBlockDevice Device, long SizeBytes) : LoadEndpoint(SizeBytes)
{
    /// <inheritdoc/>
    public override string Place => "the array that is open in this process";
}

/// <summary>A block device of this host, or a file that stands for one, driven by fio.</summary>
public sealed record BlockEndpoint(string Path, long SizeBytes) : LoadEndpoint(SizeBytes)
{
    /// <inheritdoc/>
    public override string ClientNeeded => "fio with the engines io_uring and libaio";

    /// <inheritdoc/>
    public override string Place => Path;
}

/// <summary>An NBD export on a Unix socket.</summary>
public sealed record NbdEndpoint(string SocketPath, string ExportName, long SizeBytes) : LoadEndpoint(SizeBytes)
{
    /// <inheritdoc/>
    public override string ClientNeeded => "fio with the engine nbd";

    /// <summary>As fio, libnbd and QEMU take it (NBD URI specification).</summary>
    public string Uri => $"nbd+unix:///{ExportName}?socket={SocketPath}";

    /// <inheritdoc/>
    public override string Place => Uri;
}
