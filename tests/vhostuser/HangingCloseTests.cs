// Descriptors whose close waits: nobody of us waits for it.

using System.Runtime.InteropServices;
using Polyblk.Core.Interop;
using Polyblk.Frontends;
using Polyblk.Virtio.VhostUser;
using static Polyblk.Virtio.VhostUser.VhostUserRequest;

namespace Polyblk.VhostUser.Tests;

[Collection("alone")]
public sealed class HangingCloseTests : IDisposable
{
    private readonly ExportFixture _fixture = new();
    private readonly LingeringSocket _hanging = new();
    private readonly SharedMemory _memory = new(1 << 16, 0x1000_0000);

    public void Dispose()
    {
        _hanging.Dispose();
        _fixture.Dispose();
        _memory.Dispose();
    }

    public static TheoryData<VhostUserRequest, int> Carriers() => new()
    {
        { SET_LOG_FD, 0 }, { SET_LOG_FD, 8 }, { SET_BACKEND_REQ_FD, 0 }, { SET_VRING_KICK, 8 }, { SET_VRING_CALL, 8 }, { SET_VRING_ERR, 8 },
        { ADD_MEM_REG, 40 }, { REM_MEM_REG, 40 }, { SET_LOG_BASE, 16 }, { SET_INFLIGHT_FD, 24 }, { GET_FEATURES, 0 }, { SET_MEM_TABLE, 40 },
    };

    /// <summary>Whatever becomes of the descriptor: the session handles messages or ends, and the export stops.</summary>
    [Theory]
    [MemberData(nameof(Carriers))]
    public async Task A_descriptor_whose_close_hangs_holds_up_neither_its_session_nor_the_stop(VhostUserRequest request, int bytes)
    {
        using RawFrontend f = _fixture.Connect();
        f.Negotiate();
        byte[] payload = new byte[bytes];
        if (request == SET_MEM_TABLE)
        {
            payload[0] = 1;
        }

        // The header first: the descriptor belongs to nobody else any more before the message is whole.
        GiveAway(f, request, bytes);
        if (bytes > 0)
        {
            f.Channel.SendRaw(payload);
        }

        if (request is SET_LOG_FD or SET_BACKEND_REQ_FD)
        {
            f.Get(GET_FEATURES);
        }

        await Ends(f);
    }

    [Fact]
    public async Task Surplus_descriptors_are_not_closed_by_the_session_either()
    {
        using RawFrontend f = _fixture.Connect();
        f.Negotiate();
        GiveAway(f, GET_FEATURES, 0, before: 50);
        await Ends(f);
    }

    /// <summary>What lies unread in a socket is closed with it, by whoever closes the socket.</summary>
    [Fact]
    public async Task A_descriptor_that_nobody_read_does_not_hold_up_the_end_of_its_connection()
    {
        (UnixSocket left, int right) = UnixSocket.Pair();
        _hanging.GiveAway(right, [1]);
        Task end = Task.Factory.StartNew(left.Dispose, TaskCreationOptions.LongRunning);
        Assert.True(
            await Task.WhenAny(end, Task.Delay(TimeSpan.FromSeconds(20))) == end, "the end of the connection waits for a descriptor in it");
        _ = Libc.close(right);
    }

    private static async Task StopAsync(ExportFixture fixture)
    {
        Task stop = fixture.Export.StopAsync(StopMode.Force, CancellationToken.None);
        Assert.True(
            await Task.WhenAny(stop, Task.Delay(TimeSpan.FromSeconds(20))) == stop, "the stop waits for a descriptor that does not close");
        await stop;
    }

    private async Task Ends(RawFrontend f)
    {
        await StopAsync(_fixture);
        Assert.True(f.IsEnded());
    }

    private void GiveAway(RawFrontend f, VhostUserRequest request, int bytes, int before = 0)
    {
        byte[] header = new byte[12];
        MemoryMarshal.Write(header, new VhostUserHeader { request = (uint)request, flags = 1, size = (uint)bytes });
        Assert.Equal(12, _hanging.GiveAway(f.Channel.Descriptor, header, before));
    }
}
