using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Simulation.Tests.SmallModel;

/// <summary>A drive over an image. What changes it goes to a recorder, or is done at once where there is none.</summary>
internal sealed class SmallDrive(int index, SmallImage image, SmallRecorder? recorder = null) : IBlockDevice
{
    public event Action<IBlockDevice>? Resized
    {
        add { }
        remove { }
    }

    public int Index => index;

    public SmallImage Image => image;

    public string Name => $"small {index}";

    public long SizeBytes => image.SizeBytes;

    public BlockLimits Limits { get; } = new()
    {
        LogicalBlockSize = 512,
        PhysicalBlockSize = 512,
        VolatileCache = true,
        Discard = true,
        DiscardGranularity = 512,
        NeedsCpuAccessForReads = true,
        NeedsCpuAccessForWrites = true,
    };

    public IBlockQueue OpenQueue(Reactor reactor) => new Queue(this, reactor);

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    private void Submit(BlockRequest request, Reactor reactor)
    {
        if (request.Operation == BlockOperation.Read)
        {
            image.ReadInto(request);
        }
        else if (recorder is not null)
        {
            recorder.Take(this, request, reactor);
            return;
        }
        else if (request.Operation != BlockOperation.Flush)
        {
            image.Write(request.OffsetBytes, SmallImage.DataOf(request));
        }

        request.Complete(0);
    }

    private sealed class Queue(SmallDrive drive, Reactor reactor) : IBlockQueue
    {
        public void Submit(BlockRequest request) => drive.Submit(request, reactor);

        public void Dispose()
        {
        }
    }
}
