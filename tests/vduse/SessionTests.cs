// A session against a pretended kernel: messages, start and stop, mappings that change, daemons that die.

using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Drives.Ram;
using Polyblk.Fakes;
using Polyblk.Fakes.Virtio;
using Polyblk.Frontends.Vduse;
using Polyblk.Virtio;
using static Polyblk.Frontends.Vduse.VduseAbi;
using static Polyblk.Virtio.VirtioBlkProtocol;

namespace Polyblk.Vduse.Tests;

public sealed class SessionTests : IAsyncDisposable
{
    private const int Queues = 2;
    private const int Size = 64;
    private readonly ReactorFixture _reactors = new(2, 0);
    private readonly RamDrive _drive = new(1 << 20);
    private readonly string _folder = Directory.CreateTempSubdirectory("polyblk-vduse-").FullName;
    private FakeVduseDevice _device = new(Queues, false, Size);
    private FakeVduseKernel? _kernel;
    private VduseSession? _session;

    public async ValueTask DisposeAsync()
    {
        if (_session is not null)
        {
            await _session.DisposeAsync();
        }

        _device.Dispose();
        await _drive.DisposeAsync();
        _reactors.Dispose();
        Directory.Delete(_folder, true);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ServesAfterDriverOkAndStopsAtReset(bool packed)
    {
        Begin(packed);
        Assert.False(_session!.IsRunning);
        await Start();
        Assert.True(_session.IsRunning);
        for (int q = 0; q < Queues; q++)
        {
            byte[] data = [.. Enumerable.Repeat((byte)(q + 1), 4096)];
            Assert.Equal(VIRTIO_BLK_S_OK, (await Do(q, VIRTIO_BLK_T_OUT, (ulong)(q * 8), data, 0)).Status);
            Assert.Equal(data, (await Do(q, VIRTIO_BLK_T_IN, (ulong)(q * 8), [], 4096)).In);
            Assert.True(_device.Interrupts[q] > 0);
            Assert.True(_device.Kicks[q] > 0);
        }

        Assert.Equal(VDUSE_REQ_RESULT_OK, (await _kernel!.SetStatusAsync(0)).result);
        Assert.False(_session.IsRunning);
        Assert.Equal([-1, -1], _device.Kicks[..2]);
        Assert.Equal(2, _session.GetStatistics().Queues.Sum(s => s.Reads));
        Assert.Empty(_session.GetStatistics().Reactors);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task SaysWhereAQueueIs(bool packed)
    {
        Begin(packed);
        await Start();
        for (int i = 0; i < 3; i++)
        {
            await Do(1, VIRTIO_BLK_T_FLUSH, 0, [], 0);
        }

        vduse_dev_response response = await _kernel!.SendAsync(new vduse_dev_request { type = VDUSE_GET_VQ_STATE, vq_index = 1 });
        Assert.Equal(VDUSE_REQ_RESULT_OK, response.result);
        Assert.Equal(1u, response.vq_index);
        Assert.Equal(packed ? 0x8006_8006u : 3u, VduseQueue.Decode(response.vq_state, packed));

        // It goes on afterwards.
        Assert.Equal(VIRTIO_BLK_S_OK, (await Do(1, VIRTIO_BLK_T_FLUSH, 0, [], 0)).Status);
        response = await _kernel.SendAsync(new vduse_dev_request { type = VDUSE_GET_VQ_STATE, vq_index = 9 });
        Assert.Equal(VDUSE_REQ_RESULT_FAILED, response.result);
        response = await _kernel.SendAsync(new vduse_dev_request { type = VDUSE_SET_VQ_GROUP_ASID });
        Assert.Equal(VDUSE_REQ_RESULT_OK, response.result);
        response = await _kernel.SendAsync(new vduse_dev_request { type = VDUSE_SET_VQ_GROUP_ASID, asid = 1 });
        Assert.Equal(VDUSE_REQ_RESULT_FAILED, response.result);
        response = await _kernel.SendAsync(new vduse_dev_request { type = 77 });
        Assert.Equal(VDUSE_REQ_RESULT_FAILED, response.result);
    }

    [Fact]
    public async Task ChangedMappingsAreForgottenAndFoundAnew()
    {
        Begin(false);
        await Start();
        await Do(0, VIRTIO_BLK_T_IN, 0, [], 512);
        int before = _kernel!.Mapped;
        Assert.Equal(0, _kernel.Forgotten);
        Assert.Equal(VDUSE_REQ_RESULT_OK, (await _kernel.UpdateIotlbAsync()).result);
        Assert.Equal(1, _kernel.Forgotten);
        Assert.Equal(VIRTIO_BLK_S_OK, (await Do(0, VIRTIO_BLK_T_IN, 0, [], 512)).Status);
        Assert.True(_kernel.Mapped > before);
    }

    /// <summary>
    /// A virtual machine that exchanges its memory takes everything away for a moment: the queues stand, and then go on.
    /// </summary>
    [Fact]
    public async Task QueuesStandWhileNothingIsMapped()
    {
        Begin(false);
        await Start();
        await Do(0, VIRTIO_BLK_T_IN, 0, [], 512);
        _device.IsMapped = false;
        Assert.Equal(VDUSE_REQ_RESULT_OK, (await _kernel!.UpdateIotlbAsync()).result);
        Assert.Empty(_session!.GetStatistics().Reactors);
        _device.Guests[0].Submit(VIRTIO_BLK_T_IN, 0, [], 512);
        _device.IsMapped = true;
        Assert.Equal(VDUSE_REQ_RESULT_OK, (await _kernel.UpdateIotlbAsync()).result);
        Assert.Equal(VIRTIO_BLK_S_OK, (await Answer(0)).Status);
        Assert.Equal(VIRTIO_BLK_S_OK, (await Do(0, VIRTIO_BLK_T_IN, 0, [], 512)).Status);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ASuccessorGoesOn(bool packed)
    {
        Begin(packed);
        await Start();
        for (int i = 0; i < 5; i++)
        {
            await Do(0, VIRTIO_BLK_T_OUT, (ulong)i, new byte[512], 0);
        }

        await _session!.DisposeAsync();
        Assert.True(_kernel!.IsDisposed);

        // Nobody serves; the driver waits.
        GuestRequest waiting = _device.Guests[0].Submit(VIRTIO_BLK_T_IN, 0, [], 512)!;
        Open(out bool isKnown);
        Assert.True(isKnown);
        Assert.True(_session.Recovered);
        Assert.Equal(0, _session.RecoveredRequests);
        GuestAnswer answer = await Answer(0);
        Assert.Same(waiting, answer.Request);
        Assert.Equal(VIRTIO_BLK_S_OK, (await Do(1, VIRTIO_BLK_T_IN, 0, [], 512)).Status);
    }

    [Fact]
    public async Task AResetForgetsTheLog()
    {
        Begin(false);
        await Start();
        await Do(0, VIRTIO_BLK_T_IN, 0, [], 512);
        await _kernel!.SetStatusAsync(0);
        await _session!.DisposeAsync();
        Open(out bool isKnown);
        Assert.True(isKnown);
        Assert.False(_session.Recovered);
    }

    [Fact]
    public void AStateFileOfAnotherShapeIsNotKnown()
    {
        string path = Path.Combine(_folder, "state");
        var shape = new VduseShape(2, 64, 5, Guid.NewGuid());
        using (VduseStateFile state = VduseStateFile.Open(path, shape, out bool isNew))
        {
            Assert.False(isNew);
            state.Renew();
            state.Status = 7;
            Assert.Throws<IOException>(() => VduseStateFile.Open(path, shape, out _));
        }

        VduseShape[] others =
        [
            shape with { Queues = 3 }, shape with { Queues = 1 }, shape with { QueueSize = 128 }, shape with { Features = 4 }, shape with { Volume = Guid.NewGuid() },
        ];
        foreach (VduseShape other in others)
        {
            VduseStateFile.Open(path, other, out bool isOther).Dispose();
            Assert.False(isOther);

            // Whoever was refused because of it has lost nothing of what the right successor needs.
            using VduseStateFile right = VduseStateFile.Open(path, shape, out bool isKnown);
            Assert.True(isKnown);
            Assert.Equal(7, right.Status);
        }

        using VduseStateFile renewed = VduseStateFile.Open(path, others[0], out _);
        renewed.Renew();
        Assert.Equal(0, renewed.Status);
    }

    [Fact]
    public async Task DrainingHoldsRequestsBack()
    {
        Begin(false);
        await Start();
        await _session!.DrainAsync(CancellationToken.None);
        _device.Guests[0].Submit(VIRTIO_BLK_T_IN, 0, [], 512);
        _device.Kick(0);

        // A start of the queues in the meantime does not end the drain.
        await _kernel!.UpdateIotlbAsync();
        Assert.Null(_device.Guests[0].TryGetAnswer());
        await _session.ResumeAsync(CancellationToken.None);
        Assert.Equal(VIRTIO_BLK_S_OK, (await Answer(0)).Status);
    }

    [Fact]
    public void ANewSizeIsTold()
    {
        Begin(false);
        _session!.ChangeCapacity();
        Assert.Equal([0, .. BitConverter.GetBytes((1UL << 20) / 512)], Assert.Single(_kernel!.ConfigWrites));
    }

    [Fact]
    public async Task AFailingKernelEndsTheSession()
    {
        Begin(false);
        _kernel!.FailsReading = true;
        _kernel.Wake();
        await Assert.ThrowsAsync<IOException>(() => _session!.Ended.WaitAsync(TimeSpan.FromSeconds(60)));
    }

    private void Begin(bool packed)
    {
        if (packed)
        {
            _device.Dispose();
            _device = new FakeVduseDevice(Queues, true, Size);
        }

        Open(out _);
    }

    private void Open(out bool isKnown)
    {
        var virtio = new VirtioBlkDevice(_drive, new VirtioBlkDeviceOptions { Queues = Queues, OfferAccessPlatform = true, OfferConfigWce = false });
        VduseStateFile state = VduseStateFile.Open(
            Path.Combine(_folder, "state"), new VduseShape(Queues, Size, virtio.OfferedFeatures, Guid.Empty), out isKnown);
        if (!isKnown)
        {
            state.Renew();
        }

        _kernel = new FakeVduseKernel(_device);
        _session = new VduseSession("test", _kernel, _drive, virtio, state, Queues, _reactors.Group, NullLogger.Instance, TimeProvider.System);
    }

    private async Task Start()
    {
        await _kernel!.SetStatusAsync(3);
        Assert.Equal(VDUSE_REQ_RESULT_OK, (await _kernel.SetStatusAsync(15)).result);
    }

    private async Task<GuestAnswer> Do(int queue, uint type, ulong sector, byte[] data, int inBytes)
    {
        Assert.NotNull(_device.Guests[queue].Submit(type, sector, data, inBytes));
        if (_device.Guests[queue].KickWanted)
        {
            _device.Kick(queue);
        }

        return await Answer(queue);
    }

    private async Task<GuestAnswer> Answer(int queue)
    {
        for (int i = 0; i < 20_000; i++)
        {
            if (_device.Guests[queue].TryGetAnswer() is { } answer)
            {
                return answer;
            }

            await Task.Delay(1);
        }

        throw new TimeoutException("No answer.");
    }
}
