// The kernel's side of a VDUSE device, played: messages, queues whose rings a pretended driver uses, and an IOTLB over its
// memory.

using System.Collections.Concurrent;
using Polyblk.Core.Interop;
using Polyblk.Fakes.Virtio;
using Polyblk.Frontends.Vduse;
using Polyblk.Virtio;
using Polyblk.Virtio.Memory;
using static Polyblk.Frontends.Vduse.VduseAbi;

namespace Polyblk.Vduse.Tests;

/// <summary>The device as it stays in the kernel while daemons come and go.</summary>
internal sealed class FakeVduseDevice : IDisposable
{
    public const ulong RingBase = 0x10_0000;
    public const ulong ArenaBase = 0x4000_0000;
    private readonly ulong _features;

    public FakeVduseDevice(int queues, bool packed, int size = 64)
    {
        _features = VirtioFeatures.VIRTIO_F_VERSION_1 | VirtioFeatures.VIRTIO_F_ACCESS_PLATFORM | VirtioFeatures.VIRTIO_BLK_F_FLUSH
            | VirtioFeatures.VIRTIO_F_EVENT_IDX | (packed ? VirtioFeatures.VIRTIO_F_RING_PACKED : 0);
        Space = new GuestSpace((RingBase, 1 << 20), (ArenaBase, 4 << 20));
        Drivers = [.. Enumerable.Range(0, queues).Select(i => GuestDriver.Create(Space, size, _features, RingBase + ((ulong)i * 0x1_0000)))];
        Guests = [.. Drivers.Select((d, i) => new GuestBlk(d, ArenaBase + ((ulong)i * 0x10_0000), 0x4000, 32))];
        Interrupts = new int[queues];
    }

    public GuestSpace Space { get; }

    public GuestDriver[] Drivers { get; }

    public GuestBlk[] Guests { get; }

    public int[] Interrupts { get; }

    public ulong DriverFeatures => _features;

    /// <summary>Whether I/O virtual memory is mapped for the device.</summary>
    public bool IsMapped { get; set; } = true;

    /// <summary>The driver's last status: interrupts are refused without DRIVER_OK.</summary>
    public byte Status { get; set; }

    /// <summary>Where kicks go; 0 or less for nowhere.</summary>
    public int[] Kicks { get; } = new int[8];

    public void Kick(int queue)
    {
        if (Kicks[queue] > 0)
        {
            Libc.SignalEventFd(Kicks[queue]);
        }
    }

    public void Dispose() => Space.Dispose();
}

/// <summary>One daemon's open file of the device.</summary>
internal sealed class FakeVduseKernel(FakeVduseDevice device) : IVduseKernel
{
    private readonly BlockingCollection<vduse_dev_request> _requests = [];
    private readonly ConcurrentDictionary<uint, TaskCompletionSource<vduse_dev_response>> _waiting = new();
    private uint _nextId = 1;

    public FakeVduseDevice Device => device;

    public List<byte[]> ConfigWrites { get; } = [];

    public int Mapped { get; private set; }

    public bool IsDisposed { get; private set; }

    public bool FailsReading { get; set; }

    public async Task<vduse_dev_response> SendAsync(vduse_dev_request request)
    {
        request.request_id = _nextId++;
        var answer = new TaskCompletionSource<vduse_dev_response>(TaskCreationOptions.RunContinuationsAsynchronously);
        _waiting[request.request_id] = answer;
        _requests.Add(request);
        vduse_dev_response response = await answer.Task.WaitAsync(TimeSpan.FromSeconds(60));
        if (request.type == VDUSE_SET_STATUS && response.result == VDUSE_REQ_RESULT_OK)
        {
            device.Status = request.status;
        }

        return response;
    }

    public Task<vduse_dev_response> SetStatusAsync(byte status) => SendAsync(new vduse_dev_request { type = VDUSE_SET_STATUS, status = status });

    public Task<vduse_dev_response> UpdateIotlbAsync() =>
        SendAsync(new vduse_dev_request { type = VDUSE_UPDATE_IOTLB, iova_start = 0, iova_last = ulong.MaxValue });

    public bool TryReadMessage(out vduse_dev_request request)
    {
        request = _requests.Take();
        if (FailsReading)
        {
            throw new IOException("The pretended kernel fails.");
        }

        return request.request_id != 0;
    }

    public void Answer(in vduse_dev_response response)
    {
        Assert.True(_waiting.TryRemove(response.request_id, out TaskCompletionSource<vduse_dev_response>? answer), "An answer that nobody waits for.");
        answer.SetResult(response);
    }

    public void Wake() => _requests.Add(default);

    public ulong GetDriverFeatures() => device.DriverFeatures;

    public vduse_vq_info GetQueueInfo(int index)
    {
        GuestDriver driver = device.Drivers[index];
        bool packed = (device.DriverFeatures & VirtioFeatures.VIRTIO_F_RING_PACKED) != 0;
        return new vduse_vq_info
        {
            index = (uint)index, num = (uint)driver.Size, desc_addr = driver.Addresses.Descriptor, driver_addr = driver.Addresses.Driver,
            device_addr = driver.Addresses.Device, ready = 1, state = VduseQueue.Encode(driver.StartBase, packed),
        };
    }

    public void SetupQueue(int index, int maxSize)
    {
    }

    public void SetKick(int index, int eventFd) => device.Kicks[index] = eventFd;

    public int InjectInterrupt(int index)
    {
        if ((device.Status & VIRTIO_CONFIG_S_DRIVER_OK) == 0)
        {
            return -22;
        }

        Interlocked.Increment(ref device.Interrupts[index]);
        return 0;
    }

    public void ChangeConfig(int offset, ReadOnlySpan<byte> bytes) => ConfigWrites.Add([(byte)offset, .. bytes]);

    /// <summary>How often the mappings were to be forgotten.</summary>
    public int Forgotten { get; private set; }

    public void ForgetIotlb() => Forgotten++;

    public IotlbRegion? MapIotlb(ulong address)
    {
        foreach (GuestRegion region in device.Space.Memory.Regions)
        {
            if (device.IsMapped && address - region.GuestAddress < region.Mapping.SizeBytes)
            {
                region.Mapping.AddReference();
                Mapped++;
                return new IotlbRegion(region.GuestAddress, region.Mapping);
            }
        }

        return null;
    }

    public void Dispose() => IsDisposed = true;
}
