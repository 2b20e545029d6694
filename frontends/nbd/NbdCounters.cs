namespace Polyblk.Frontends.Nbd;

/// <summary>Counters of one connection. Written by its reactor, read by anybody.</summary>
internal sealed class NbdCounters
{
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
                break;
            case NbdCommand.Write:
                _writes++;
                _writeBytes += slot.LengthBytes;
                break;
            case NbdCommand.Flush:
                _flushes++;
                break;
            case NbdCommand.Trim or NbdCommand.WriteZeroes:
                _discards++;
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
    };
}
