// The control device: commands to /dev/ublk-control, by io_uring with 128-byte entries.
//
// Theory of operation
//   * The ring lives on a thread of its own, a reactor that sleeps unless there is something to do. Commands block inside the kernel
//     (START_DEV reads the partition table, so it needs the queues served meanwhile; DEL_DEV waits for the last user of the device);
//     the kernel runs such commands on workers, so several are under way at once and each has its own time limit.
//   * A command that exceeds its limit answers -ETIMEDOUT to the caller and goes on in the kernel. Its payload is freed when it ends.
//   * For the devices of ordinary users the driver checks the permissions of /dev/ublkcN, whose path then precedes each payload: but
//     for ADD_DEV, before which there is no such node, whatever the number that is asked for.

using System.Runtime.InteropServices;
using System.Text;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;
using Polyblk.Core.Uring;
using static Polyblk.Frontends.Ublk.UblkAbi;

namespace Polyblk.Frontends.Ublk;

/// <summary>Sends control commands: the seam where a test plays the driver.</summary>
internal interface IUblkControl : IAsyncDisposable
{
    /// <summary>The clock of the time limits, and of everybody who waits for the driver.</summary>
    TimeProvider Clock { get; }

    /// <summary>Sends one command and waits for its end.</summary>
    /// <param name="command">UBLK_U_CMD_*.</param>
    /// <param name="device">The device's number, or <see cref="AnyDevice"/>.</param>
    /// <param name="data">The command's inline argument.</param>
    /// <param name="payload">What the command points to: read by the kernel, and filled with what it gives back.</param>
    /// <param name="timeout">How long to wait.</param>
    /// <returns>The command's result or a negative errno; -ETIMEDOUT when it has not ended in time.</returns>
    Task<int> SendAsync(uint command, uint device, ulong data, byte[] payload, TimeSpan timeout);
}

/// <summary>The real control device.</summary>
internal sealed class UblkControl : IUblkControl, IUringHandler
{
    /// <summary>Path of the control device.</summary>
    public const string DevicePath = "/dev/ublk-control";

    private const uint RingEntries = 64;

    private readonly Reactor _reactor;
    private readonly bool _unprivileged;
    private readonly Dictionary<uint, Pending> _pending = [];
    private readonly int _fd;
    private IoUring? _ring;
    private int _handler;
    private uint _nextTag;

    private UblkControl(int fd, bool unprivileged, TimeProvider clock)
    {
        Clock = clock;
        _fd = fd;
        _unprivileged = unprivileged;
        _reactor = new Reactor(new ReactorOptions { Name = "ublk-control", Idle = IdlePolicy.Frugal, RingEntries = 0 });
    }

    /// <summary>Opens the control device and starts the thread.</summary>
    /// <param name="unprivileged">Whether this process is to make and control devices of its user only.</param>
    /// <param name="clock">The clock of the time limits; the system's by default.</param>
    /// <exception cref="FrontendException">It cannot be opened, or there is no io_uring with 128-byte entries.</exception>
    public static async Task<UblkControl> OpenAsync(bool unprivileged, TimeProvider? clock = null)
    {
        int fd = Libc.open(DevicePath, Libc.O_RDWR | Libc.O_CLOEXEC);
        if (fd < 0)
        {
            throw new FrontendException(UblkProbe.ExplainOpenFailure(-fd));
        }

        var control = new UblkControl(fd, unprivileged, clock ?? TimeProvider.System);
        try
        {
            await control._reactor.InvokeAsync(control.MakeRing).ConfigureAwait(false);
            return control;
        }
        catch
        {
            await control.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <inheritdoc/>
    public TimeProvider Clock { get; }

    /// <inheritdoc/>
    public async Task<int> SendAsync(uint command, uint device, ulong data, byte[] payload, TimeSpan timeout)
    {
        Pending pending = MakePending(command, device, payload);
        var header = new ublksrv_ctrl_cmd
        {
            dev_id = device,
            queue_id = NoQueue,
            len = (ushort)pending.Bytes,
            addr = (ulong)pending.Buffer,
            data = data,
            dev_path_len = (ushort)pending.PathBytes,
        };
        await _reactor.InvokeAsync(() => Submit(command, header, pending)).ConfigureAwait(false);
        try
        {
            (int result, byte[] answer) = await pending.Done.Task.WaitAsync(timeout, Clock).ConfigureAwait(false);
            answer.CopyTo(payload, 0);
            return result;
        }
        catch (TimeoutException)
        {
            return -Errno.ETIMEDOUT;
        }
    }

    /// <summary>Called on the control thread.</summary>
    public unsafe void OnUringCompletion(uint tag, int result, uint flags)
    {
        if (_pending.Remove(tag, out Pending? pending))
        {
            byte[] answer = new Span<byte>((byte*)pending.Buffer + pending.PathBytes, pending.Bytes - pending.PathBytes).ToArray();
            NativeMemory.Free((void*)pending.Buffer);
            pending.Done.SetResult((result, answer));
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _reactor.InvokeAsync(CloseRing).ConfigureAwait(false);
        _reactor.Dispose();
        _ = Libc.close(_fd);
    }

    private void MakeRing()
    {
        if (!IoUring.TryCreate(new IoUringOptions { Entries = RingEntries, LargeSqe = true }, out IoUring? ring, out string reason))
        {
            throw new FrontendException($"The ublk control ring cannot be made: {reason}.");
        }

        _ring = ring!;
        _handler = _ring.Attach(this);
        _reactor.AddRing(_ring);
    }

    private void CloseRing()
    {
        if (_ring is null)
        {
            return;
        }

        // A command that never ended (see the time limit) keeps its payload: the kernel may still write to it.
        _reactor.RemoveRing(_ring);
        _ring.Dispose();
        _ring = null;
    }

    private unsafe void Submit(uint command, ublksrv_ctrl_cmd header, Pending pending)
    {
        uint tag = _nextTag++;
        io_uring_sqe* sqe = _ring!.TryGetSqe(_handler, tag);
        if (sqe is null)
        {
            NativeMemory.Free((void*)pending.Buffer);
            pending.Done.SetResult((-Errno.EBUSY, []));
            return;
        }

        sqe->opcode = UringAbi.IORING_OP_URING_CMD;
        sqe->fd = _fd;
        sqe->cmd_op = command;
        *(ublksrv_ctrl_cmd*)sqe->cmd = header;
        _pending.Add(tag, pending);
    }

    private unsafe Pending MakePending(uint command, uint device, byte[] payload)
    {
        byte[] path = _unprivileged && device != AnyDevice && command != UBLK_U_CMD_ADD_DEV ? Encoding.ASCII.GetBytes($"/dev/ublkc{device}\0") : [];
        int bytes = path.Length + payload.Length;
        byte* buffer = (byte*)NativeMemory.AllocZeroed((nuint)Math.Max(bytes, 1));
        path.CopyTo(new Span<byte>(buffer, bytes));
        payload.CopyTo(new Span<byte>(buffer + path.Length, payload.Length));
        return new Pending((nint)buffer, bytes, path.Length);
    }

    private sealed class Pending(nint buffer, int bytes, int pathBytes)
    {
        public readonly nint Buffer = buffer;
        public readonly int Bytes = bytes;
        public readonly int PathBytes = pathBytes;
        public readonly TaskCompletionSource<(int Result, byte[] Answer)> Done = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
