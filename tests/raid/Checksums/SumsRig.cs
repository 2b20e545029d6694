using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Checksums;

namespace Polyblk.Raid.Tests.Checksums;

/// <summary>A simulated drive with checksums, and the means to spoil what is on it.</summary>
internal sealed class SumsRig : IAsyncDisposable
{
    public const long DataOffset = 1 << 20;
    public const int Block = ChecksumLayout.BlockBytes;

    private static readonly Guid s_member = new("11111111-2222-3333-4444-555555555555");
    private readonly List<SimulatedDrive> _owned = [];
    private readonly List<RequestDriver> _drivers = [];

    private SumsRig(int reactors, SimulatedDrive drive, ChecksumLayout layout)
    {
        Reactors = new ReactorFixture(reactors, ringEntries: 0);
        Layout = layout;
        Raw = drive;
        _owned.Add(drive);
    }

    public ReactorFixture Reactors { get; }

    public ChecksumLayout Layout { get; }

    public SimulatedDrive Raw { get; private set; }

    public ChecksummedDrive Sums { get; private set; } = null!;

    public List<string> Told { get; } = [];

    public ArrayRunOptions Run { get; init; } = new() { CleanAfter = TimeSpan.FromHours(1) };

    public static async Task<SumsRig> CreateAsync(
        long dataBytes = 8 << 20, int reactors = 1, ArrayRunOptions? run = null, bool canCrash = false, ulong seed = 1)
    {
        var layout = new ChecksumLayout(DataOffset, dataBytes, DataOffset + dataBytes);
        var options = new SimulatedDriveOptions { Seed = seed, CanCrash = canCrash };
        var rig = new SumsRig(reactors, new SimulatedDrive(layout.AreaEnd, options), layout)
        {
            Run = run ?? new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1) },
        };
        rig.Sums = await ChecksummedDrive.FormatAsync(rig.Raw, layout, s_member, rig.Reactors.Reactor, rig.Run, rig.Tell);
        return rig;
    }

    public async Task<RequestDriver> OpenAsync(int reactor = 0)
    {
        RequestDriver driver = await RequestDriver.OpenAsync(Sums, Reactors.Reactors[reactor]);
        _drivers.Add(driver);
        return driver;
    }

    /// <summary>Ends the run and begins another one.</summary>
    public async Task<RequestDriver> ReopenAsync(bool clean, IBlockDevice? by = null, bool readOnly = false)
    {
        await CloseAsync(clean);
        Sums = await ChecksummedDrive.OpenAsync(by ?? Raw, Layout, s_member, Reactors.Reactor, Run, readOnly, Tell);
        return await OpenAsync();
    }

    /// <summary>The same member is made once more. What was open is closed.</summary>
    public async Task FormatAgainAsync() =>
        Sums = await ChecksummedDrive.FormatAsync(Raw, Layout, s_member, Reactors.Reactor, Run, Tell);

    public async Task<bool> CloseAsync(bool clean)
    {
        foreach (RequestDriver driver in _drivers)
        {
            await driver.DisposeAsync();
        }

        _drivers.Clear();
        return await Sums.CloseAsync(clean);
    }

    /// <summary>After a crash of the drive.</summary>
    public void Restart()
    {
        Raw = Raw.Restart();
        _owned.Add(Raw);
    }

    /// <summary>The drive changes a block by itself.</summary>
    public Task SpoilAsync(long block, int seed = 99) => WriteRawAsync(block, Arrays.TestBytes.Noise(Block, seed));

    public Task WriteRawAsync(long block, byte[] data) =>
        BlockIo.WriteAsync(Raw, Reactors.Reactor, DataOffset + (block * Block), data);

    public async Task<byte[]> ReadRawAsync(long block)
    {
        var data = new byte[Block];
        await BlockIo.ReadAsync(Raw, Reactors.Reactor, DataOffset + (block * Block), data);
        return data;
    }

    public static async Task WaitAsync(Func<bool> condition, string what) => await Arrays.ArrayRig.WaitAsync(condition, what);

    public async ValueTask DisposeAsync()
    {
        await CloseAsync(clean: false);
        foreach (SimulatedDrive drive in _owned)
        {
            await drive.DisposeAsync();
        }

        Reactors.Dispose();
    }

    private void Tell(string what)
    {
        lock (Told)
        {
            Told.Add(what);
        }
    }
}
