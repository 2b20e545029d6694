namespace Polyblk.Compare.Load;

/// <summary>Where a load is directed to.</summary>
/// <param name="SizeBytes">How much of it may be read and written.</param>
public abstract record LoadEndpoint(long SizeBytes);

/// <summary>A vhost-user-blk socket.</summary>
public sealed record VhostUserEndpoint(string SocketPath, int Queues, long SizeBytes) : LoadEndpoint(SizeBytes);

/// <summary>A file or block device.</summary>
public sealed record FileEndpoint(string Path, long SizeBytes) : LoadEndpoint(SizeBytes);
