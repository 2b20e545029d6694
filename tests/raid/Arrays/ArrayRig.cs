using System.Numerics;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Checksums;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Parity;
using Polyblk.Raid.Superblock;
using Polyblk.Simulation.Tests;

namespace Polyblk.Raid.Tests.Arrays;

/// <summary>An array over simulated drives, its reactors, and the means to look at the raw members.</summary>
internal sealed class ArrayRig : IAsyncDisposable
{
    public const long DataOffset = RaidGeometry.DefaultDataOffset;

    private readonly List<SimulatedDrive> _owned = [];
    private readonly List<RequestDriver> _drivers = [];

    private ArrayRig(ReactorFixture reactors, SimulatedDrive[] drives)
    {
        Reactors = reactors;
        Drives = drives;
        _owned.AddRange(drives);
    }

    public ReactorFixture Reactors { get; }

    public SimulatedDrive[] Drives { get; private set; }

    public RaidArray Array { get; private set; } = null!;

    public List<ArrayEvent> Events { get; } = [];

    /// <summary>The events so far.</summary>
    public ArrayEvent[] Snapshot()
    {
        lock (Events)
        {
            return [.. Events];
        }
    }

    /// <summary>
    /// What the run options are unless a test changes them: nothing happens by itself, and the resync runs at once.
    /// </summary>
    public ArrayRunOptions Run { get; set; } = new() { CleanAfter = TimeSpan.FromHours(1), RebuildByItself = false };

    /// <summary>Makes drives and an array over them.</summary>
    public static async Task<ArrayRig> CreateAsync(
        RaidLevel level,
        int drives,
        int chunkBytes = 64 << 10,
        long memberBytes = 1 << 20,
        int reactors = 1,
        bool zeroed = true,
        Func<SimulatedDriveOptions, SimulatedDriveOptions>? simulation = null,
        Func<int, long>? extraBytes = null,
        ArrayRunOptions? run = null,
        ArrayConsistency? consistency = null,
        bool checksums = false)
    {
        memberBytes += checksums ? ChecksumLayout.AreaBytes(memberBytes) + 8192 : 0;
        var made = new SimulatedDrive[drives];
        for (int i = 0; i < drives; i++)
        {
            var options = new SimulatedDriveOptions { Seed = (ulong)(i * 1000) + 1, CanCrash = false };
            made[i] = new SimulatedDrive(DataOffset + memberBytes + (extraBytes?.Invoke(i) ?? 0), simulation?.Invoke(options) ?? options);
        }

        var rig = new ArrayRig(new ReactorFixture(reactors, ringEntries: 0), made);
        if (run is not null)
        {
            rig.Run = run;
        }

        rig.Array = await ArrayBuilder.CreateAsync(
            new ArrayCreateOptions
            {
                Name = "test", Level = level, ChunkBytes = chunkBytes, AssumeZeroed = zeroed, Consistency = consistency,
                Checksums = checksums,
                Run = rig.Watched(),
            },
            made,
            rig.Reactors.Reactor);
        return rig;
    }

    /// <summary>Opens a driver on a reactor.</summary>
    public async Task<RequestDriver> OpenAsync(int reactor = 0)
    {
        RequestDriver driver = await RequestDriver.OpenAsync(Array, Reactors.Reactors[reactor]);
        lock (_drivers)
        {
            // Several are opened at once.
            _drivers.Add(driver);
        }

        return driver;
    }

    public async Task CloseDriversAsync()
    {
        foreach (RequestDriver driver in _drivers)
        {
            await driver.DisposeAsync();
        }

        _drivers.Clear();
    }

    /// <summary>Stops the array in order.</summary>
    public async Task StopAsync()
    {
        await CloseDriversAsync();
        await Array.DisposeAsync();
    }

    /// <summary>Ends the array without a word to the superblocks.</summary>
    public async Task AbandonAsync()
    {
        await CloseDriversAsync();
        await Array.AbandonAsync();
    }

    /// <summary>Loses power on every drive at once: the reactors stand still while it goes out.</summary>
    public Task CrashAsync() => OnStillReactorsAsync(d => d.CrashAsync());

    /// <summary>
    /// The process dies: what was on its way to the drives never gets there, what they have taken stays, flushed or not. Then
    /// assemble the array again.
    /// </summary>
    public Task KillAsync() => OnStillReactorsAsync(d => d.VanishAsync());

    /// <summary>After <see cref="KillAsync"/> and when all requests have failed.</summary>
    public async Task ReturnDrivesAsync()
    {
        await AbandonAsync();
        foreach (SimulatedDrive drive in Drives)
        {
            drive.Return();
        }
    }

    private async Task OnStillReactorsAsync(Func<SimulatedDrive, Task> happen)
    {
        using var frozen = new CountdownEvent(Reactors.Reactors.Count);
        using var powerIsOut = new ManualResetEventSlim();
        Task[] reactors = [.. Reactors.Reactors.Select(r => r.InvokeAsync(() =>
        {
            frozen.Signal();
            powerIsOut.Wait();
        }))];
        await Task.Run(frozen.Wait);
        Task[] crashes = [.. Drives.Select(happen)];
        powerIsOut.Set();
        await Task.WhenAll([.. reactors, .. crashes]);
    }

    /// <summary>After <see cref="CrashAsync"/> and when all requests have failed.</summary>
    public async Task RestartDrivesAsync()
    {
        await AbandonAsync();
        Drives = [.. Drives.Select(d => d.Restart())];
        _owned.AddRange(Drives);
    }

    /// <summary>Starts the array again from some of the drives.</summary>
    public async Task AssembleAsync(
        IReadOnlyList<IBlockDevice>? candidates = null,
        bool force = false,
        bool allowDegraded = true,
        bool readOnly = false,
        int? blockSize = null)
    {
        var options = new ArrayAssembleOptions
        {
            Name = "test",
            Force = force,
            AllowDegraded = allowDegraded,
            ReadOnly = readOnly,
            LogicalBlockSize = blockSize,
            Run = Watched(),
        };
        Array = await ArrayBuilder.AssembleAsync(options, candidates ?? Drives, Reactors.Reactor);
    }

    /// <summary>Crashes and starts are those of these drives from now on, which are the rig's already.</summary>
    public void UseDrives(SimulatedDrive[] drives) => Drives = drives;

    /// <summary>A further drive like those of the array, which the rig disposes.</summary>
    public SimulatedDrive MakeDrive()
    {
        SimulatedDrive like = Drives[0];
        var drive = new SimulatedDrive(like.SizeBytes, like.Options with { Seed = 1_000_000 + (ulong)_owned.Count });
        _owned.Add(drive);
        return drive;
    }

    /// <summary>A member's drive is pulled, and the array knows.</summary>
    public async Task LoseAsync(RequestDriver driver, int role)
    {
        await Drives[role].VanishAsync();
        await driver.FlushAsync();
        await WaitAsync(() => (Array.State.PersistedMask >> role & 1) != 0, $"the loss of member {role}");
    }

    /// <summary>A further drive takes the place of a member's that is out.</summary>
    public async Task ReplaceAsync(int role)
    {
        SimulatedDrive drive = MakeDrive();
        await Array.ReplaceMemberAsync(role, drive);
        Drives[role] = drive;
    }

    /// <summary>The drives do what they are asked again, and what was stuck goes on.</summary>
    public async Task ReleaseDrivesAsync()
    {
        foreach (SimulatedDrive drive in Drives)
        {
            drive.ClearFaults();
            await drive.ReleaseStuckAsync();
        }
    }

    /// <summary>Seconds of the array's clock pass, and somebody looks after each.</summary>
    public void Pass(ManualClock clock, int seconds)
    {
        for (int i = 0; i < seconds; i++)
        {
            clock.Advance(TimeSpan.FromSeconds(1));
            Array.Control.LookAtMembers();
        }
    }

    /// <summary>Waits until no member is being rebuilt.</summary>
    public async Task WaitForRebuildAsync() => await WaitAsync(() => Array.State.RebuildingMask == 0, "the rebuild to end");

    /// <summary>Waits until the resync is over.</summary>
    public async Task WaitForResyncAsync() => await WaitAsync(() => Array.GetStatus().Resync is null, "the resync to end");

    /// <summary>
    /// Waits until nobody holds a row. A job, such as one that mends what was refused, holds rows for a moment; none keeps them.
    /// </summary>
    public static Task WaitForLocksAsync(RaidArray array) => WaitAsync(() => array.Locks.IsIdle, "the last row to be given back");

    /// <summary>Waits until something is so.</summary>
    public static async Task WaitAsync(Func<bool> condition, string what)
    {
        for (int i = 0; i < 3000; i++)
        {
            if (condition())
            {
                return;
            }

            await Task.Delay(10);
        }

        Assert.Fail($"Waited in vain for {what}.");
    }

    /// <summary>The data area of a member, as it is on the drive.</summary>
    public Task<byte[]> ReadMemberAsync(int member) => ReadMemberAsync(Array.Geometry, Drives[member], Reactors.Reactor);

    /// <summary>Asserts that parities match the data, or that copies are equal, over the whole array.</summary>
    public Task AssertConsistentAsync(string because, ulong without = 0) =>
        AssertConsistentAsync(Array.Geometry, Drives, Reactors.Reactor, because, without);

    /// <summary>
    /// The same for an array over other drives, by role. A member of <paramref name="without"/> is not looked at: of copies the
    /// others must be equal, and with parities its block is what P makes of the others.
    /// </summary>
    public static async Task AssertConsistentAsync(
        RaidGeometry geometry, IReadOnlyList<IBlockDevice> drives, Reactor reactor, string because, ulong without = 0)
    {
        var members = new byte[geometry.MemberCount][];
        for (int i = 0; i < members.Length; i++)
        {
            members[i] = ((without >> i) & 1) != 0 ? [] : await ReadMemberAsync(geometry, drives[i], reactor);
        }

        if (geometry.HasParity && without != 0)
        {
            MakeLost(geometry, members, BitOperations.TrailingZeroCount(without));
        }

        string? wrong = MemberCheck.Find(geometry, members);
        Assert.True(wrong is null, $"{wrong}: {because}");
    }

    private static async Task<byte[]> ReadMemberAsync(RaidGeometry geometry, IBlockDevice drive, Reactor reactor)
    {
        var data = new byte[geometry.MemberDataSize];
        await BlockIo.ReadAsync(drive, reactor, DataOffset, data);
        return data;
    }

    /// <summary>
    /// Makes one member's blocks from the others: data and P by exclusive or, further parities anew (so that nothing is known of
    /// them).
    /// </summary>
    private static void MakeLost(RaidGeometry geometry, byte[][] members, int lost)
    {
        members[lost] = new byte[geometry.MemberDataSize];
        for (long stripe = geometry.GroupOf(lost); stripe < geometry.StripeCount; stripe += geometry.GroupCount)
        {
            int at = (int)(geometry.StripeOffset(stripe) - geometry.DataOffset);
            Span<byte> made = members[lost].AsSpan(at, geometry.ChunkSize);
            int parity = geometry.BlockIndex(stripe, lost) - geometry.DataCount;
            bool isSum = parity > 0;
            for (int i = geometry.DataCount - (isSum ? 1 : 0); i >= 0; i--)
            {
                int member = geometry.BlockMember(stripe, i);
                if (member == lost)
                {
                    continue;
                }

                ReadOnlySpan<byte> block = members[member].AsSpan(at, geometry.ChunkSize);
                for (int b = 0; b < block.Length; b++)
                {
                    made[b] ^= isSum ? GaloisField.Multiply(MemberCheck.Coefficient(parity, i), block[b]) : block[b];
                }
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        await CloseDriversAsync();
        await Array.AbandonAsync();
        foreach (SimulatedDrive drive in _owned)
        {
            await drive.DisposeAsync();
        }

        Reactors.Dispose();
    }

    private ArrayRunOptions Watched() => Run with
    {
        OnEvent = e =>
        {
            lock (Events)
            {
                Events.Add(e);
            }
        },
    };
}
