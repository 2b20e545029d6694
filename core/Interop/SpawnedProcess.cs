// A program that is started without a shell, in a process group of its own, so that it can be ended with all that it started.
// (The framework's Process has no groups, and finds children by walking /proc, which whoever was orphaned escapes.)
//
// It inherits nothing but its three descriptors: all others of this process close on exec. Signals are as in a fresh process.

using System.Runtime.InteropServices;
using System.Text;
using Polyblk.Core.Block;

namespace Polyblk.Core.Interop;

/// <summary>A child process and its group. One thread's; dispose it to end both.</summary>
public sealed unsafe class SpawnedProcess : IDisposable
{
    private const int SigPipe = 13;
    private const int SigKill = 9;

    // struct posix_spawnattr_t has 336 bytes, posix_spawn_file_actions_t 80, sigset_t 128 (glibc; musl's are no larger).
    private const int AttributeBytes = 1024;
    private const int ActionBytes = 256;
    private const int SignalSetBytes = 128;

    private const int SignalInfoBytes = 128;
    private const int SignalInfoPid = 4; // of its words, on 64-bit machines
    private const int Unknown = 255;

    private bool _isOver;
    private int _status;

    private SpawnedProcess(int id) => Id = id;

    /// <summary>Its pid, and that of its group.</summary>
    public int Id { get; }

    /// <summary>Starts a program; it has no arguments.</summary>
    /// <param name="path">The program.</param>
    /// <param name="environment">All that its environment holds: <c>NAME=value</c>.</param>
    /// <param name="input">Its standard input; stays the caller's.</param>
    /// <param name="output">Its standard output and error; stays the caller's.</param>
    /// <exception cref="IOException">It cannot be started.</exception>
    public static SpawnedProcess Start(string path, IReadOnlyList<string> environment, int input, int output)
    {
        ArgumentNullException.ThrowIfNull(path);
        ArgumentNullException.ThrowIfNull(environment);
        byte* attributes = stackalloc byte[AttributeBytes];
        byte* actions = stackalloc byte[ActionBytes];
        byte* signals = stackalloc byte[SignalSetBytes];
        new Span<byte>(signals, SignalSetBytes).Clear();
        _ = Libc.posix_spawnattr_init(attributes);
        _ = Libc.posix_spawn_file_actions_init(actions);
        byte** arguments = Strings([path]);
        byte** variables = Strings(environment);
        try
        {
            const short Flags = Libc.POSIX_SPAWN_SETPGROUP | Libc.POSIX_SPAWN_SETSIGDEF | Libc.POSIX_SPAWN_SETSIGMASK;
            _ = Libc.posix_spawnattr_setflags(attributes, Flags);
            _ = Libc.posix_spawnattr_setpgroup(attributes, 0);
            _ = Libc.posix_spawnattr_setsigmask(attributes, signals);
            ((ulong*)signals)[0] = 1UL << (SigPipe - 1); // which the runtime ignores
            _ = Libc.posix_spawnattr_setsigdefault(attributes, signals);
            _ = Libc.posix_spawn_file_actions_adddup2(actions, input, 0);
            _ = Libc.posix_spawn_file_actions_adddup2(actions, output, 1);
            _ = Libc.posix_spawn_file_actions_adddup2(actions, output, 2);
            int id;
            int errno = Libc.posix_spawn(&id, arguments[0], actions, attributes, arguments, variables);
            return errno == 0 ? new SpawnedProcess(id)
                : throw new IOException($"{path} cannot be started: {Marshal.GetPInvokeErrorMessage(errno)} (errno {errno}).");
        }
        finally
        {
            _ = Libc.posix_spawn_file_actions_destroy(actions);
            _ = Libc.posix_spawnattr_destroy(attributes);
            Free(arguments);
            Free(variables);
        }
    }

    /// <summary>
    /// Whether it has ended: its exit status then, or 128 and the signal that ended it. What is left in its group ends with it.
    /// Where somebody else has reaped it, it is over with the status 255.
    /// </summary>
    public bool HasEnded(out int status)
    {
        int* info = stackalloc int[SignalInfoBytes / sizeof(int)];
        info[SignalInfoPid] = 0;
        status = _status;
        if (!_isOver)
        {
            int rc = Libc.waitid(Libc.P_PID, Id, info, Libc.WEXITED | Libc.WNOHANG | Libc.WNOWAIT);
            if (rc < 0 && rc != -Errno.EINTR)
            {
                // It is no child of this process (any more): somebody else has reaped it, and its number may be anybody's. Nobody
                // is killed for it.
                _isOver = true;
                _status = status = Unknown;
                return true;
            }

            if (info[SignalInfoPid] != Id)
            {
                return false;
            }

            Dispose();
            status = _status;
        }

        return true;
    }

    /// <summary>Ends it and all that is in its group, at once, and waits for it.</summary>
    public void Dispose()
    {
        if (_isOver)
        {
            return;
        }

        // Before it is reaped: as long as it is known, its number is nobody else's.
        _ = Libc.kill(-Id, SigKill);
        int word;
        int rc;
        do
        {
            rc = Libc.waitpid(Id, &word, 0);
        }
        while (rc == -Errno.EINTR);
        _isOver = true;
        _status = rc != Id ? Unknown : (word & 0x7f) == 0 ? (word >> 8) & 0xff : 128 + (word & 0x7f);
    }

    private static byte** Strings(IReadOnlyList<string> strings)
    {
        byte** list = (byte**)NativeMemory.AllocZeroed((nuint)(strings.Count + 1), (nuint)sizeof(byte*));
        for (int i = 0; i < strings.Count; i++)
        {
            byte[] text = Encoding.UTF8.GetBytes(strings[i]);
            list[i] = (byte*)NativeMemory.AllocZeroed((nuint)text.Length + 1);
            text.CopyTo(new Span<byte>(list[i], text.Length));
        }

        return list;
    }

    private static void Free(byte** strings)
    {
        for (byte** at = strings; *at is not null; at++)
        {
            NativeMemory.Free(*at);
        }

        NativeMemory.Free(strings);
    }
}
