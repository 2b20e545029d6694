// Standard output and error that are closed, or cannot be written.
//
// A program that is started with a closed descriptor gets that number for the next thing that it opens: a message for the user
// would go into a drive, or into a pipe of the runtime. So the three numbers are filled before anything else. What the runtime
// has opened by then is known by its flag: it closes on exec, as nothing does that was inherited.

using System.Text;
using Polyblk.Core.Interop;

namespace Polyblk.Cli.Output;

/// <summary>Makes the three standard streams safe to use.</summary>
internal static class StandardStreams
{
    private const string NullDevice = "/dev/null";

    /// <summary>
    /// Fills closed descriptors with /dev/null, and keeps the console from descriptors that are the runtime's. First of all in
    /// Main.
    /// </summary>
    public static void Prepare()
    {
        for (int fd = 0; fd <= 2; fd++)
        {
            int flags = Libc.fcntl(fd, Libc.F_GETFD, 0);
            if (flags < 0)
            {
                // The lowest free number is this one; without O_CLOEXEC, as standard streams are.
                _ = Libc.open(NullDevice, Libc.O_RDWR);
            }
            else if ((flags & Libc.FD_CLOEXEC) != 0)
            {
                Forget(fd);
            }
        }
    }

    private static void Forget(int fd)
    {
        switch (fd)
        {
            case 0:
                Console.SetIn(TextReader.Null);
                break;
            case 1:
                Console.SetOut(TextWriter.Null);
                break;
            default:
                Console.SetError(TextWriter.Null);
                break;
        }
    }
}

/// <summary>
/// Standard error for messages. When it cannot be written (a full disk, a terminal that is gone) the message is lost, and only
/// that: what the program does goes on, and its exit code stays true.
/// </summary>
internal sealed class ErrorWriter(TextWriter inner) : TextWriter
{
    public override Encoding Encoding => inner.Encoding;

    public override void Write(char value) => Try(() => inner.Write(value));

    public override void Write(string? value) => Try(() => inner.Write(value));

    public override void WriteLine(string? value) => Try(() => inner.WriteLine(value));

    public override void Flush() => Try(inner.Flush);

    private static void Try(Action write)
    {
        try
        {
            write();
        }
        catch (IOException)
        {
            // There is no other place to say it.
        }
    }
}
