// One virtqueue of a virtio-blk device on one reactor: memory that a drive may still read when its request is done.

using Polyblk.Core.Block;
using Polyblk.Virtio.Memory;

namespace Polyblk.Virtio;

public sealed partial class VirtioBlkQueue
{
    /// <summary>
    /// The table's mappings stay until they are given back, whatever table comes then, and when the queue has ended. Of what is
    /// in flight all lies in the present table: another one that lacks something of it is exchanged when nothing is.
    /// </summary>
    public IDisposable Lend(BlockRequest request) => new LentMemory(_ring.Memory);

    private sealed class LentMemory : IDisposable
    {
        private readonly GuestMemory _memory;

        public LentMemory(GuestMemory memory)
        {
            _memory = memory;
            memory.AddReference();
        }

        public void Dispose() => _memory.Release();
    }
}
