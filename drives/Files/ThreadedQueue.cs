using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Drives.Files;

/// <summary>
/// A reactor's queue of a file or block device where there is no io_uring: a few threads of its own make blocking calls. Each
/// request goes to the thread that has the fewest.
/// </summary>
internal sealed class ThreadedQueue : IBlockQueue
{
    private const int Threads = 4;
    private readonly FileDrive _drive;
    private readonly IoThread[] _threads;
    private readonly long _blockMask;
    private readonly bool _readOnly;

    /// <summary>Opens it, on the reactor's thread.</summary>
    public ThreadedQueue(FileDrive drive, Reactor reactor)
    {
        _drive = drive;
        drive.File.Keep();
        _blockMask = drive.Limits.LogicalBlockSize - 1;
        _readOnly = drive.Limits.ReadOnly;
        _threads = new IoThread[Threads];
        for (int i = 0; i < Threads; i++)
        {
            _threads[i] = new IoThread(drive, reactor);
        }
    }

    public void Submit(BlockRequest request)
    {
        int status = RequestCheck.Validate(request, _drive.SizeBytes, _blockMask, _readOnly);
        if (status != 0)
        {
            request.Complete(status);
            return;
        }

        IoThread best = _threads[0];
        int fewest = best.Pending;
        for (int i = 1; i < _threads.Length && fewest != 0; i++)
        {
            int pending = _threads[i].Pending;
            if (pending < fewest)
            {
                best = _threads[i];
                fewest = pending;
            }
        }

        best.Post(request);
    }

    public void Dispose()
    {
        foreach (IoThread thread in _threads)
        {
            thread.Dispose();
        }

        _drive.File.LetGo();
    }
}
