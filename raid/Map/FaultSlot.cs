// The last request that a drive answered with an error, as the reactors that share the drive have seen it.
//
// A sequence lock: odd while somebody writes. A reactor that finds another one writing leaves it at that: one error is as good as
// the other, and nobody waits.

using Polyblk.Core.Block;

namespace Polyblk.Raid.Map;

/// <summary>See the top of the file. Any thread; allocates nothing and never waits for a writer that does not come on.</summary>
internal sealed class FaultSlot
{
    private const int Looks = 100;

    private int _version;
    private BlockFault _fault;

    /// <summary>Notes one.</summary>
    public void Set(in BlockFault fault)
    {
        int version = Volatile.Read(ref _version);
        if ((version & 1) == 0 && Interlocked.CompareExchange(ref _version, version + 1, version) == version)
        {
            _fault = fault;
            Volatile.Write(ref _version, version + 2);
        }
    }

    /// <summary>The last one; null when there was none.</summary>
    public BlockFault? Get()
    {
        var wait = default(SpinWait);
        for (int look = 0; look < Looks; look++)
        {
            int before = Volatile.Read(ref _version);
            BlockFault fault = _fault;
            Interlocked.MemoryBarrier();
            if ((before & 1) == 0 && before == Volatile.Read(ref _version))
            {
                return before == 0 ? null : fault;
            }

            wait.SpinOnce();
        }

        return null;
    }
}
