using Polyblk.Core.Interop;

namespace Polyblk.Core.Tests.Interop;

/// <summary>Nobody uses up what the whole process needs, and nobody with many keeps those out who have few.</summary>
public sealed class ProcessBudgetTests
{
    [Fact]
    public void Those_with_many_are_refused_before_others_and_the_limit_holds_for_all()
    {
        var budget = new ProcessBudget("things", 10, "ask for fewer");
        Assert.Equal(5, TakeAll(budget, isOneOfMany: true));
        Assert.Equal(5, TakeAll(budget, isOneOfMany: false));
        budget.Return();
        Assert.Equal(0, TakeAll(budget, isOneOfMany: true));
        Assert.Equal(1, TakeAll(budget, isOneOfMany: false));
        budget.Return(10);
        Assert.Equal(0, budget.Taken);
        Assert.Equal(5, TakeAll(budget, isOneOfMany: true));
        IOException e = Assert.Throws<IOException>(() => budget.Take(isOneOfMany: true));
        Assert.Equal("This process holds 5 things and takes no more from those who gave many: ask for fewer.", e.Message);
    }

    [Fact]
    public void Beyond_half_everybody_gets_the_fewest_that_are_of_use()
    {
        var budget = new ProcessBudget("places", 100, "ask for fewer");
        Assert.Equal(30, budget.TakeUpTo(30, 5, isOneOfMany: false));
        Assert.Equal(20, budget.TakeUpTo(30, 5, isOneOfMany: true));
        Assert.Throws<IOException>(() => budget.TakeUpTo(30, 5, isOneOfMany: true));
        Assert.Equal(5, budget.TakeUpTo(30, 5, isOneOfMany: false));
        Assert.Equal(55, budget.Taken);
    }

    private static int TakeAll(ProcessBudget budget, bool isOneOfMany)
    {
        int taken = 0;
        while (true)
        {
            try
            {
                budget.Take(isOneOfMany);
                taken++;
            }
            catch (IOException)
            {
                return taken;
            }
        }
    }
}
