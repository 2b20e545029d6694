using Polyblk.Core.Reactors;

namespace Polyblk.Core.Tests.Reactors;

public sealed class TimerHeapTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void AgreesWithASortedList(int seed)
    {
        var random = new Random(seed);
        var heap = new TimerHeap();
        var model = new List<Timer>();
        var fired = new List<Timer>();
        Timer[] timers = [.. Enumerable.Range(0, 200).Select(_ => new Timer(fired))];
        long now = 0;
        for (int step = 0; step < 20_000; step++)
        {
            Timer timer = timers[random.Next(timers.Length)];
            switch (random.Next(8))
            {
                case 0:
                    heap.Remove(timer);
                    model.Remove(timer);
                    break;
                case 1:
                    now += random.Next(100);
                    fired.Clear();
                    List<Timer> due = [.. model.Where(t => t.DueNs <= now)];
                    Assert.Equal(due.Count, heap.RunDue(now));
                    Assert.Equal(due.ToHashSet(), fired.ToHashSet());
                    Assert.Equal(due.Select(t => t.DueNs).Order(), fired.Select(t => t.DueNs));
                    model.RemoveAll(due.Contains);
                    break;
                default:
                    heap.Set(timer, now + random.Next(1000));
                    model.Remove(timer);
                    model.Add(timer);
                    break;
            }

            Assert.True(heap.NextDueNs == (model.Count == 0 ? long.MaxValue : model.Min(t => t.DueNs)), $"seed {seed}, step {step}");
            Assert.Equal(model.Contains(timer), timer.IsScheduled);
        }
    }

    [Fact]
    public void ATimerThatSchedulesItselfForThePastDoesNotHoldTheCall()
    {
        var heap = new TimerHeap();
        var timer = new Again(heap);
        heap.Set(timer, 5);
        Assert.Equal(1, heap.RunDue(10));
        Assert.Equal(1, heap.RunDue(10));
        Assert.True(timer.IsScheduled);
    }

    private sealed class Timer(List<Timer> fired) : ReactorTimer
    {
        protected internal override void OnDue() => fired.Add(this);
    }

    private sealed class Again(TimerHeap heap) : ReactorTimer
    {
        protected internal override void OnDue() => heap.Set(this, 5);
    }
}
