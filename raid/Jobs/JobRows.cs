namespace Polyblk.Raid.Jobs;

/// <summary>The rows that a job has under way: which are free, running, or done and still locked. One reactor's.</summary>
internal sealed class JobRows(int count)
{
    private enum Phase : byte
    {
        Free,
        Running,
        Held,
    }

    private readonly Phase[] _phases = new Phase[count];
    private readonly long[] _units = new long[count];

    /// <summary>How many run.</summary>
    public int Running { get; private set; }

    public bool IsFree(int index) => _phases[index] == Phase.Free;

    public bool IsHeld(int index) => _phases[index] == Phase.Held;

    /// <summary>The first unit of a row.</summary>
    public long UnitOf(int index) => _units[index];

    public void Begin(int index, long unit)
    {
        _phases[index] = Phase.Running;
        _units[index] = unit;
        Running++;
    }

    public void End(int index, bool holdsLock)
    {
        _phases[index] = holdsLock ? Phase.Held : Phase.Free;
        Running--;
    }

    public void Release(int index) => _phases[index] = Phase.Free;

    /// <summary>The least unit from <paramref name="from"/> on of a row that runs; <paramref name="otherwise"/> without one.</summary>
    public long FirstRunning(long from, long otherwise)
    {
        long first = otherwise;
        for (int i = 0; i < _phases.Length; i++)
        {
            first = _phases[i] == Phase.Running && _units[i] >= from ? Math.Min(first, _units[i]) : first;
        }

        return first;
    }
}
