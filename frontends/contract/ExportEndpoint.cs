namespace Polyblk.Frontends;

/// <summary>Kinds of places where an export is reached.</summary>
public enum EndpointKind
{
    /// <summary>A Unix socket.</summary>
    UnixSocket,

    /// <summary>A block device node.</summary>
    BlockDevice,

    /// <summary>A character device node (vhost-vdpa).</summary>
    CharacterDevice,
}

/// <summary>Where an export is reached.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Path">Its path.</param>
public sealed record ExportEndpoint(EndpointKind Kind, string Path);

/// <summary>An exact way to attach an export.</summary>
/// <param name="Consumer">Who runs it: <c>qemu</c>, <c>libvirt</c>, <c>docker</c>, <c>kubernetes</c>, <c>shell</c>,
/// <c>fio</c>.</param>
/// <param name="Purpose">One sentence.</param>
/// <param name="Text">The command line, or the fragment of a configuration file.</param>
/// <param name="Arguments">For command lines: the arguments one by one, unquoted; empty for fragments.</param>
public sealed record AttachCommand(string Consumer, string Purpose, string Text, IReadOnlyList<string> Arguments);
