using Polyblk.Fakes;
using Polyblk.Raid;

namespace Polyblk.Simulation.Tests.SmallModel;

/// <summary>
/// A sequence as it ran once, on an array that was clean, until that was stopped in order: what the drives held before, what they
/// were told, and what the consumer knew.
/// </summary>
internal sealed class SmallRun
{
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(1);

    private readonly SmallArray _array;

    private SmallRun(SmallArray array)
    {
        _array = array;
        Base = [.. Enumerable.Range(0, array.Drives).Select(_ => array.NewImage())];
        Log = new SmallLog(array.VolumeBytes);
    }

    /// <summary>What the drives held before.</summary>
    public SmallImage[] Base { get; }

    /// <summary>What they were told.</summary>
    public List<SmallWrite> Writes { get; private set; } = [];

    /// <summary>How many events there were.</summary>
    public int Events { get; private set; }

    /// <summary>What the consumer knew.</summary>
    public SmallLog Log { get; }

    /// <summary>Runs a sequence. The seed decides which requests of the drives are done first.</summary>
    public static SmallRun Of(SmallArray array, SmallSequence sequence, ulong seed)
    {
        var run = new SmallRun(array);
        var chance = new Chance(seed);
        using var world = new World(new Chance(chance.Seed()), reactors: 1);
        Task task = run.PrepareAsync(world, chance);
        world.Run(() => task.IsCompleted, task);

        var recorder = new SmallRecorder(world, chance);
        world.Actors.Add(recorder);
        task = run.RecordAsync(world, sequence, recorder);
        world.Run(() => task.IsCompleted, task);
        run.Events = recorder.Now;
        run.Writes = recorder.Writes;
        return run;
    }

    private async Task PrepareAsync(World world, Chance chance)
    {
        RaidArray array = await _array.CreateAsync(world, [.. Base.Take(_array.Members).Select((image, i) => new SmallDrive(i, image))], chance);
        RequestDriver driver = await RequestDriver.OpenAsync(array, world.Reactors[0]);
        var everything = new SmallRequest(SmallKind.DurableWrite, 0, (int)_array.VolumeBytes / VolumeModel.BlockBytes);
        await SmallArray.DoAsync(driver, everything, Log.First(new VolumeModel(_array.VolumeBytes)));
        await driver.DisposeAsync();
        await array.StopAsync();
    }

    private async Task RecordAsync(World world, SmallSequence sequence, SmallRecorder recorder)
    {
        var model = new VolumeModel(_array.VolumeBytes);
        _ = Log.First(model);
        SmallDrive[] drives = [.. Base.Select((image, i) => new SmallDrive(i, image.Copy(), recorder))];
        RaidArray array = await _array.AssembleAsync(world, drives.Take(_array.Members).Where(d => d.Index != _array.Away));
        RequestDriver driver = await RequestDriver.OpenAsync(array, world.Reactors[0]);
        if (_array.IsReshaped)
        {
            // So slowly that what comes meanwhile does come meanwhile.
            array.MaxJobBytesPerSecond = 1 << 20;
            await array.ReshapeAsync(_array.Becomes, drives[_array.Members..]);
        }

        foreach (SmallRequest[] step in sequence.Steps)
        {
            await Task.WhenAll(step.Select(DoAsync));
        }

        while (array.Live.Reshaping is { } reshape && reshape.Frontier < reshape.Map.OldCapacity)
        {
            await Task.Delay(s_look, world.Clock);
        }

        await driver.DisposeAsync();
        await array.StopAsync();
        Log.StoppedAt = recorder.Now;

        async Task DoAsync(SmallRequest request)
        {
            int number = Log.Begin(recorder.Now, request);
            byte[] data = request.Kind == SmallKind.Flush ? [] : SmallLog.BeginWrite(model, request).Data;
            await SmallArray.DoAsync(driver, request, data);
            Log.End(recorder.Now, request, number);
        }
    }
}
