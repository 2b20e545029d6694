using Polyblk.Frontends;
using Polyblk.Host.Serving;
using Polyblk.Host.State;

namespace Polyblk.Host.Daemon;

/// <summary>Checks an export that somebody asks for, before it is made: not only the command line may ask.</summary>
public static class ExportCheck
{
    /// <summary>Most queues of an export.</summary>
    public const int MaxQueues = 256;

    /// <summary>Most entries of a queue.</summary>
    public const int MaxQueueSize = 32768;

    /// <summary>Longest serial number: virtio-blk, VIRTIO_BLK_ID_BYTES.</summary>
    public const int MaxSerialBytes = 20;

    /// <summary>Checks it.</summary>
    /// <exception cref="RefusalException">It makes no sense, or names a frontend, group or folder that is not there.</exception>
    public static void Check(ExportRecord export, IReadOnlyList<IFrontend> frontends)
    {
        IFrontend frontend = frontends.FirstOrDefault(f => f.Name == export.Frontend)
            ?? throw RefusalException.Invalid($"There is no frontend '{export.Frontend}'.", $"There are: {string.Join(", ", frontends.Select(f => f.Name))}.");
        string? problem =
            export.Options.Values.Any(v => v is null) ? "An option has no value."
            : export.AllowUsers is { Count: 0 } ? "A list of users that names nobody serves nobody: leave it out, or name them."
            : export.Queues is < 1 or > MaxQueues ? $"Queues are from 1 to {MaxQueues}."
            : export.QueueSize is int size && (size is < 1 or > MaxQueueSize || !int.IsPow2(size)) ? $"The size of a queue is a power of two up to {MaxQueueSize}."
            : export.Serial is string serial && (serial.Length is 0 or > MaxSerialBytes || !serial.All(c => c is > ' ' and < (char)127))
                ? $"A serial number has 1 to {MaxSerialBytes} printable ASCII characters without spaces."
            : export.SocketPath is string path && (!Path.IsPathRooted(path) || path.Any(char.IsControl)) ? "The path of a socket is absolute, and has no control characters."
            : export.Options.Select(o => ProblemOf(frontend, o.Key, o.Value)).FirstOrDefault(p => p is not null);
        if (problem is not null)
        {
            throw RefusalException.Invalid(problem);
        }

        string? said = export.SocketPath ?? export.SocketGroup ?? export.SocketMode;
        SocketAccess.RequireSocket(frontend, isSaid: said is not null || export.AllowUsers is not null);
        if (export.SocketPath is string socket && Path.GetDirectoryName(socket) is string folder && !Directory.Exists(folder))
        {
            throw RefusalException.NotFound(
                $"There is no folder {folder} for the socket {socket}.",
                "Make it, or choose another path.");
        }

        // Its group and mode.
        _ = export.ToGroup();
    }

    private static string? ProblemOf(IFrontend frontend, string name, string value) => frontend.Options.FirstOrDefault(o => o.Name == name) switch
    {
        null => $"'{name}' is no option of the frontend {frontend.Name}.",
        { Choices.Count: > 0 } option when !option.Choices.Contains(value) => $"'{name}' takes {string.Join(", ", option.Choices)}, not '{value}'.",
        _ => null,
    };
}
