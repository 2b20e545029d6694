using Polyblk.Core.Block;
using Polyblk.Core.Metering;
using Polyblk.Core.Reactors;

namespace Polyblk.Frontends.Nbd;

/// <summary>Counters of one connection. Written by its reactor, read by anybody.</summary>
internal sealed class NbdCounters(Reactor reactor)
{
    private readonly TurnLatencies _latencies = new(reactor);
    private long _reads, _readBytes, _writes, _writeBytes, _flushes, _discards, _errors;

    /// <summary>Counts a finished request.</summary>
    public void Count(NbdSlot slot)
    {
        if (slot.Status != 0)
        {
            _errors++;
            return;
        }

        switch (slot.Command)
        {
            case NbdCommand.Read:
                _reads++;
                _readBytes += slot.LengthBytes;
                _latencies.Answered(BlockOperation.Read, slot.TakenNs);
                break;
            case NbdCommand.Write:
                _writes++;
                _writeBytes += slot.LengthBytes;
                _latencies.Answered(BlockOperation.Write, slot.TakenNs);
                break;
            case NbdCommand.Flush:
                _flushes++;
                _latencies.Answered(BlockOperation.Flush, slot.TakenNs);
                break;
            case NbdCommand.Trim or NbdCommand.WriteZeroes:
                _discards++;
                _latencies.Answered(BlockOperation.Discard, slot.TakenNs);
                break;
        }
    }

    /// <summary>Adds these counters to a sum.</summary>
    public ExportStatistics AddTo(ExportStatistics sum) => sum with
    {
        Reads = sum.Reads + Volatile.Read(ref _reads),
        ReadBytes = sum.ReadBytes + Volatile.Read(ref _readBytes),
        Writes = sum.Writes + Volatile.Read(ref _writes),
        WriteBytes = sum.WriteBytes + Volatile.Read(ref _writeBytes),
        Flushes = sum.Flushes + Volatile.Read(ref _flushes),
        Discards = sum.Discards + Volatile.Read(ref _discards),
        Errors = sum.Errors + Volatile.Read(ref _errors),
        Latencies = sum.Latencies.Plus(_latencies.Read()),
    };

    /// <summary>What its session is told of.</summary>
    public SessionStatistics Of(SessionStatistics session) => session with
    {
        Reads = Volatile.Read(ref _reads),
        ReadBytes = Volatile.Read(ref _readBytes),
        Writes = Volatile.Read(ref _writes),
        WriteBytes = Volatile.Read(ref _writeBytes),
        Flushes = Volatile.Read(ref _flushes),
        Discards = Volatile.Read(ref _discards),
        Errors = Volatile.Read(ref _errors),
        Latencies = _latencies.Read(),
    };
}
