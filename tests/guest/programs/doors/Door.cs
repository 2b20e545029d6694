using Polyblk.Core.Interop;

namespace Polyblk.GuestPrograms.Doors;

/// <summary>One way to the volume. Offsets and lengths are multiples of 4096. One thread at a time.</summary>
internal abstract class Door(string name) : IDisposable
{
    /// <summary>Longest request.</summary>
    public const int MaxBytes = 1 << 20;

    /// <summary>How it is called in messages.</summary>
    public string Name { get; } = name;

    /// <summary>Opens <c>NAME=NODE</c>, a block device, or <c>NAME=SOCKET</c>, a vhost-user-blk socket.</summary>
    /// <exception cref="IOException">It cannot be opened.</exception>
    public static Door Open(string argument)
    {
        (string name, string path) = Split(argument);
        return Libc.IsSocket(path) ? new SocketDoor(name, path) : new DeviceDoor(name, path);
    }

    /// <summary>
    /// The same, but a door that waits where its server dies, and goes on with the next one: what was not answered is done again.
    /// <c>NAME=SOCKET#EXPORT</c> is an NBD export.
    /// </summary>
    /// <exception cref="IOException">It cannot be opened.</exception>
    public static Door OpenPatient(string argument)
    {
        (string name, string path) = Split(argument);
        return path.Split('#', 2) is [var socket, var export] ? new NbdDoor(name, socket, export)
            : Libc.IsSocket(path) ? new ReconnectingDoor(name, path)
            : new DeviceDoor(name, path);
    }

    /// <exception cref="IOException">The request failed.</exception>
    public abstract void Read(long offset, Span<byte> data);

    /// <exception cref="IOException">The request failed.</exception>
    public abstract void Write(long offset, ReadOnlySpan<byte> data);

    /// <exception cref="IOException">The request failed.</exception>
    public abstract void Flush();

    public abstract void Dispose();

    private static (string Name, string Path) Split(string argument)
    {
        string[] parts = argument.Split('=', 2);
        return (parts[0], parts[1]);
    }

    protected void Check(long result, long expected, string what)
    {
        if (result != expected)
        {
            throw new IOException($"{Name}: {what} gave {result}");
        }
    }
}
