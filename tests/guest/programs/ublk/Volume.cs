using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives;
using Polyblk.Drives.Files;
using Polyblk.Raid;
using Polyblk.Raid.Layout;

namespace Polyblk.GuestPrograms.Ublk;

/// <summary>What is served: a drive, or an array of drives whose members can be made to fail.</summary>
internal sealed class Volume : IAsyncDisposable
{
    private readonly IReadOnlyList<IBlockDevice> _drives;

    private Volume(IBlockDevice device, IReadOnlyList<IBlockDevice> drives) => (Device, _drives) = (device, drives);

    public IBlockDevice Device { get; }

    public ArrayHealth Health => Array.GetStatus().Health;

    private RaidArray Array => (RaidArray)Device;

    /// <summary>
    /// Opens a drive, or with <c>raid5=DRIVE;DRIVE;...</c> and the like an array: a new one with the option <c>new</c>, else one
    /// that exists, with <c>force</c> also when it is dirty and lacks a member.
    /// </summary>
    public static async Task<Volume> OpenAsync(string text, Dictionary<string, string> options, ReactorGroup reactors)
    {
        string[] parts = text.Split('=', 2);
        if (parts.Length < 2 || !Enum.TryParse(parts[0], ignoreCase: true, out RaidLevel level))
        {
            IBlockDevice device = DriveFactory.Open(DriveSpec.Parse(text));
            return new Volume(options.TryGetValue("fake", out string? kind) ? new CpuNeedingDevice(device, kind) : device, []);
        }

        var drives = new List<FailingDrive>();
        try
        {
            drives.AddRange(parts[1].Split(';').Select(drive => new FailingDrive(DriveFactory.Open(DriveSpec.Parse(drive)))));
            Reactor home = reactors.Reactors[0];
            RaidArray array = options.ContainsKey("new")
                ? await ArrayBuilder.CreateAsync(new ArrayCreateOptions { Name = "data", Level = level, SizeBytes = 24 << 20, Force = true }, drives, home)
                : await ArrayBuilder.AssembleAsync(new ArrayAssembleOptions { Name = "data", Force = options.ContainsKey("force") }, drives, home);
            return new Volume(array, drives);
        }
        catch
        {
            drives.ForEach(drive => drive.DisposeAsync().AsTask().Wait());
            throw;
        }
    }

    /// <summary>Gives an array so many MiB; a drive takes over the size that its file has now.</summary>
    public async Task ResizeAsync(int? sizeMib)
    {
        if (sizeMib is int mib)
        {
            await Array.ResizeAsync((long)mib << 20);
            return;
        }

        await ((FileDrive)Device).RefreshSizeAsync();
    }

    /// <summary>Waits for the end of the resync.</summary>
    public async Task SettleAsync()
    {
        while (Array.GetStatus().Resync is not null)
        {
            await Task.Delay(50);
        }
    }

    /// <summary>From now on a member answers with I/O errors; the array throws it out when it notices.</summary>
    public void Fail(int member) => ((FailingDrive)_drives[member]).Fails = true;

    public async ValueTask DisposeAsync()
    {
        await Device.DisposeAsync();
        foreach (IBlockDevice drive in _drives)
        {
            await drive.DisposeAsync();
        }
    }

    /// <summary>A drive that breaks when it is told.</summary>
    private sealed class FailingDrive(IBlockDevice inner) : IBlockDevice
    {
        private volatile bool _fails;

        public bool Fails
        {
            set => _fails = value;
        }

        public string Name => inner.Name;

        public long SizeBytes => inner.SizeBytes;

        public BlockLimits Limits => inner.Limits;

        public event Action<IBlockDevice>? Resized
        {
            add => inner.Resized += value;
            remove => inner.Resized -= value;
        }

        public IBlockQueue OpenQueue(Reactor reactor) => new Queue(inner.OpenQueue(reactor), this);

        public ValueTask DisposeAsync() => inner.DisposeAsync();

        private sealed class Queue(IBlockQueue inner, FailingDrive drive) : IBlockQueue
        {
            public void Submit(BlockRequest request)
            {
                if (drive._fails)
                {
                    request.Complete(-Errno.EIO);
                    return;
                }

                inner.Submit(request);
            }

            public void Dispose() => inner.Dispose();
        }
    }
}
