namespace Polyblk.Host.Declared;

/// <summary>The keys of a declaration. They are documented in docs/apply.md and stay.</summary>
internal static class Keys
{
    public const string
        Volumes = "volumes",
        Level = "level",
        Groups = "groups",
        Chunk = "chunk",
        Size = "size",
        Drives = "drives",
        Spares = "spares",
        Consistency = "consistency",
        Checksums = "checksums",
        RebuildRate = "rebuild-rate",
        CheckEvery = "check-every",
        SlowRead = "slow-read",
        DriveTimeout = "drive-timeout",
        Autostart = "autostart",
        SpareGroup = "spare-group",
        Isolate = "isolate",
        Exports = "exports",
        Frontend = "frontend",
        Socket = "socket",
        SocketGroup = "socket-group",
        SocketMode = "socket-mode",
        AllowUser = "allow-user",
        Queues = "queues",
        QueueSize = "queue-size",
        ReadOnly = "read-only",
        Serial = "serial";
}
