// The other end of afl-fuzz's fork server (AFL++, docs/persistent_mode and src/afl-forkserver.c), for a process that cannot
// fork.
//
// afl-fuzz talks to this process through descriptors 198 and 199: it sends four bytes for each input, whose bytes lie at the
// start of the standard input, and wants a process id and, at the end, a wait status. The inputs are run by a child process,
// one after the other: so a target that ends its process (a guard page was touched, the stack is gone) ends the child, this
// process tells of the signal and starts another.
//
// Instrumented assemblies (sharpfuzz) count their branches in memory whose address they find in
// SharpFuzz.Common.Trace.SharedMem. That assembly is only there in an instrumented copy of this program, so it is found by
// reflection.

using System.Diagnostics;
using System.Globalization;
using System.Linq.Expressions;
using System.Reflection;
using System.Runtime.InteropServices;
using Polyblk.Host;

namespace Polyblk.Fuzz;

/// <summary>Runs targets for afl-fuzz.</summary>
internal static unsafe partial class ForkServer
{
    private const int FromFuzzer = 198;
    private const int ToFuzzer = 199;
    private const int MapBytes = 1 << 16;
    private const int SIGABRT = 6;

    /// <summary>Inputs after which a child is exchanged: what one of them left behind goes with it.</summary>
    private const int InputsOfAChild = 500_000;

    /// <summary>The process that afl-fuzz starts: keeps a child running and passes inputs on, until afl-fuzz is gone.</summary>
    public static int Serve(string target)
    {
        WriteNumber(ToFuzzer, 0);
        while (true)
        {
            (int toChildRead, int toChild) = Pipe();
            (int fromChild, int fromChildWrite) = Pipe();
            _ = fcntl(toChild, F_SETFD, FD_CLOEXEC);
            _ = fcntl(fromChild, F_SETFD, FD_CLOEXEC);
            using Process child = Start(target, toChildRead, fromChildWrite);
            _ = close(toChildRead);
            _ = close(fromChildWrite);
            bool ready = TryReadNumber(fromChild, out _);
            int status = 0;
            bool gone = !ready;
            for (int inputs = 0; !gone && inputs < InputsOfAChild; inputs++)
            {
                if (!TryReadNumber(FromFuzzer, out _))
                {
                    child.Kill();
                    return 0;
                }

                WriteNumber(ToFuzzer, child.Id);
                WriteNumber(toChild, 0);
                gone = !TryReadNumber(fromChild, out status);
                if (gone)
                {
                    child.WaitForExit();
                    status = child.ExitCode > 128 ? child.ExitCode - 128 : SIGABRT;
                }

                WriteNumber(ToFuzzer, status);
            }

            _ = close(toChild);
            _ = close(fromChild);
            if (!ready)
            {
                Console.Error.WriteLine(
                    "polyblk-fuzz: the process that runs the inputs cannot start; try 'polyblk-fuzz replay' with the seeds.");
                return 1;
            }
        }
    }

    /// <summary>The process that runs the inputs.</summary>
    public static int RunChild(IFuzzTarget target, int control, int status)
    {
        byte* map = Attach();
        Action reset = UseMap(map);

        // What is done once in a process (types, tables, threads of the pool) must not look like the first input's doing.
        for (int i = 0; i < 3; i++)
        {
            foreach ((string _, byte[] seed) in target.Seeds())
            {
                _ = RunOne(target, seed);
            }
        }

        byte[] buffer = new byte[1 << 20];
        new Span<byte>(map, MapBytes).Clear();
        WriteNumber(status, 0);
        while (TryReadNumber(control, out _))
        {
            int length = ReadInput(buffer);
            reset();
            WriteNumber(status, RunOne(target, buffer.AsSpan(0, length)) ? 0 : SIGABRT);
        }

        return 0;
    }

    private static bool RunOne(IFuzzTarget target, ReadOnlySpan<byte> input)
    {
        try
        {
            target.Run(input);
            return true;
        }
#pragma warning disable CA1031 // Whatever a target throws is a finding; afl-fuzz keeps the input.
        catch (Exception)
#pragma warning restore CA1031
        {
            return false;
        }
    }

    private static Process Start(string target, int control, int status)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!) { UseShellExecute = false };
        foreach (string argument in new[]
        {
            Assembly.GetExecutingAssembly().Location, "afl-child", target,
            control.ToString(CultureInfo.InvariantCulture), status.ToString(CultureInfo.InvariantCulture),
        })
        {
            start.ArgumentList.Add(argument);
        }

        return Process.Start(start) ?? throw new IOException("The process that runs the inputs cannot be started.");
    }

    private static byte* Attach()
    {
        string id = Environment.GetEnvironmentVariable("__AFL_SHM_ID")
            ?? throw new InvalidOperationException("This is for afl-fuzz: use 'polyblk-fuzz replay', or eng/fuzz.");
        void* map = shmat(int.Parse(id, CultureInfo.InvariantCulture), null, 0);
        return (nint)map == -1 ? throw new IOException("afl-fuzz's shared memory cannot be attached.") : (byte*)map;
    }

    /// <summary>Has the instrumented assemblies count in the map; returns what to call before each input.</summary>
    private static Action UseMap(byte* map)
    {
        Type trace = Assembly.Load("SharpFuzz.Common").GetType("SharpFuzz.Common.Trace", throwOnError: true)!;
        trace.GetField("SharedMem")!.SetValue(null, Pointer.Box(map, typeof(byte*)));
        MemberExpression previous = Expression.Field(null, trace.GetField("PrevLocation")!);
        return Expression.Lambda<Action>(Expression.Assign(previous, Expression.Constant(0))).Compile();
    }

    private static int ReadInput(byte[] buffer)
    {
        int length = 0;
        fixed (byte* at = buffer)
        {
            nint got;
            while (length < buffer.Length && (got = read(0, at + length, (nuint)(buffer.Length - length))) > 0)
            {
                length += (int)got;
            }
        }

        return length;
    }

    private static bool TryReadNumber(int fd, out int number)
    {
        int value = 0;
        bool done = read(fd, &value, sizeof(int)) == sizeof(int);
        number = value;
        return done;
    }

    private static void WriteNumber(int fd, int number) => _ = write(fd, &number, sizeof(int));

    private static (int Read, int Write) Pipe()
    {
        int* ends = stackalloc int[2];
        return pipe(ends) == 0 ? (ends[0], ends[1]) : throw new IOException("No pipe can be made.");
    }

    private const int F_SETFD = 2;
    private const int FD_CLOEXEC = 1;

    [LibraryImport("libc")]
    private static partial void* shmat(int id, void* address, int flags);

    [LibraryImport("libc")]
    private static partial int pipe(int* ends);

    [LibraryImport("libc")]
    private static partial int fcntl(int fd, int command, nint argument);

    [LibraryImport("libc")]
    private static partial int close(int fd);

    [LibraryImport("libc")]
    private static partial nint read(int fd, void* buffer, nuint count);

    [LibraryImport("libc")]
    private static partial nint write(int fd, void* buffer, nuint count);
}
