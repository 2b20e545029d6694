using Polyblk.Core.Reactors;
using Polyblk.Fakes;
using Polyblk.Raid.Engine;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class RangeLocksTests
{
    [Fact]
    public void A_range_is_taken_whole_or_not_at_all()
    {
        var locks = new RangeLocks();
        Assert.Equal(-1, locks.TryLock(60, 200));
        Assert.Equal(259, locks.TryLock(259, 1));
        Assert.Equal(60, locks.TryLock(0, 100));
        Assert.Equal(-1, locks.TryLock(0, 60));
        Assert.Equal(-1, locks.TryLock(260, RangeLocks.MaxUnits - 260));
        locks.Unlock(60, 200);
        Assert.Equal(-1, locks.TryLock(60, 200));
        locks.Unlock(0, RangeLocks.MaxUnits);
        Assert.True(locks.IsIdle);
    }

    [Fact]
    public async Task Overlapping_ranges_of_several_reactors_exclude_each_other_and_all_get_their_turn()
    {
        const int Rounds = 4000;
        var locks = new RangeLocks();
        var owners = new int[512];
        using var reactors = new ReactorFixture(3, ringEntries: 0);
        var holders = new List<Holder>();
        for (int i = 0; i < 9; i++)
        {
            holders.Add(new Holder(locks, reactors.Reactors[i % 3], owners, seed: i + 1, Rounds));
        }

        foreach (Holder holder in holders)
        {
            await holder.Home.InvokeAsync(holder.Start);
        }

        await Task.WhenAll(holders.Select(h => h.Done)).WaitAsync(TimeSpan.FromSeconds(60));
        Assert.All(holders, h => Assert.Equal(0, h.Violations));
        Assert.True(locks.IsIdle);
    }

    /// <summary>Takes random ranges again and again; holds every other one until its reactor's next turn.</summary>
    private sealed class Holder(RangeLocks locks, Reactor home, int[] owners, int seed, int rounds) : RangeWaiter
    {
        private readonly TaskCompletionSource _done = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly Random _random = new(seed);
        private Later? _later;
        private int _left = rounds;

        public Task Done => _done.Task;

        public int Violations { get; private set; }

        internal override Reactor Home => home;

        internal override RangeLocks Locks => locks;

        public void Start()
        {
            _later ??= new Later(this);
            if (_left-- == 0)
            {
                _done.SetResult();
                return;
            }

            UnitCount = _random.Next(1, 150);
            FirstUnit = _random.Next(owners.Length - UnitCount);
            if (locks.LockOrWait(this))
            {
                OnLocked();
            }
        }

        protected override void OnLocked()
        {
            for (long unit = FirstUnit; unit < FirstUnit + UnitCount; unit++)
            {
                Violations += Interlocked.Exchange(ref owners[unit], seed) != 0 ? 1 : 0;
            }

            home.Defer(_later!);
        }

        private void Release()
        {
            for (long unit = FirstUnit; unit < FirstUnit + UnitCount; unit++)
            {
                Violations += Interlocked.Exchange(ref owners[unit], 0) != seed ? 1 : 0;
            }

            locks.Unlock(FirstUnit, UnitCount);
            Start();
        }

        private sealed class Later(Holder holder) : ReactorWork
        {
            public override void Run() => holder.Release();
        }
    }
}
