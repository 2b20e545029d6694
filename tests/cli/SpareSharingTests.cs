// Spares that volumes of one daemon share: who lacks a member gets one of its group, from a volume that is whole; what cannot be
// used goes back.

using System.Text.Json;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.State;

namespace Polyblk.Cli.Tests;

public sealed class SpareSharingTests : DaemonTestBase
{
    [Fact]
    public async Task AVolumeThatLacksAMemberGetsTheSpareOfItsGroup()
    {
        await ServeAsync(("needy", "pool"), ("stranger", "other"), ("alone", null), ("giver", "pool"));
        foreach (string volume in (string[])["stranger", "alone", "giver"])
        {
            await MustAsync("volume", "add-spare", volume, Spare(volume));
        }

        await MustAsync("volume", "fail", "needy", "0");
        await WaitAsync(async () => (await ArrayAsync("needy")).GetProperty("health").GetString() == "optimal");
        Assert.Contains(PathOf("giver-spare"), Store.Get("needy").Drives);
        Assert.DoesNotContain(PathOf("giver-spare"), Store.Get("giver").Drives);
        Assert.Equal(3, Store.Get("stranger").Drives.Count);
        Assert.Equal(3, Store.Get("alone").Drives.Count);
        await WaitAsync(
            () => Task.FromResult(Daemon!.Events.Store.Read(0, "needy", 100).Any(e => e.Kind == EventKinds.SpareShared)));

        // The next one has nobody left who could give.
        await MustAsync("volume", "fail", "giver", "0");
        Assert.Equal("degraded", (await ArrayAsync("giver")).GetProperty("health").GetString());
        Assert.Equal(3, Store.Get("stranger").Drives.Count);
    }

    [Fact]
    public async Task OneThatIsTooSmallGoesBackAndTheNextOneIsTaken()
    {
        await ServeAsync(("needy", "pool"), ("small", "pool"), ("large", "pool"));
        await MustAsync("volume", "add-spare", "small", Spare("small"));
        await EndAsync();

        // The volume of small drives has small spares.
        await CreateAsync("tiny", "raid1", 2, "2MiB");
        Share(("tiny", "pool"));
        await StartAsync();
        await Daemon!.Settled.WaitAsync(TooLong);
        await MustAsync("volume", "add-spare", "tiny", $"file:{PathOf("tiny-spare")},size=2MiB");
        await MustAsync("volume", "add-spare", "tiny", $"file:{PathOf("tiny-spare2")},size=2MiB");
        await MustAsync("volume", "fail", "needy", "1");
        await WaitAsync(async () => (await ArrayAsync("needy")).GetProperty("health").GetString() == "optimal");
        Assert.Contains(PathOf("small-spare"), Store.Get("needy").Drives);
        Assert.Equal(4, Store.Get("tiny").Drives.Count);
        Assert.Equal(2, (await ArrayAsync("tiny")).GetProperty("spares").GetArrayLength());
    }

    /// <summary>What was declared before a spare went to another volume of its group is so still.</summary>
    [Fact]
    public async Task ADeclarationHoldsAfterASpareHasMoved()
    {
        await ServeAsync(("needy", "pool"), ("giver", "pool"), ("stranger", "other"));
        await MustAsync("volume", "add-spare", "giver", Spare("giver"));
        string file = PathOf("f.yaml");
        await File.WriteAllTextAsync(file, (await MustAsync("apply", "--print")).Output);
        await MustAsync("volume", "fail", "needy", "0");
        await WaitAsync(async () => (await ArrayAsync("needy")).GetProperty("health").GetString() == "optimal");
        Assert.Contains(PathOf("giver-spare"), Store.Get("needy").Drives);
        await WaitAsync(() => Task.FromResult(Store.Get("needy").Members!.Any(m => m.Drive == PathOf("giver-spare"))));
        (string output, string errors) = await MustAsync("apply", file, "--dry-run");
        Assert.EndsWith("Nothing differs.\n", output, StringComparison.Ordinal);
        Assert.Contains($"{PathOf("giver-spare")} of volume 'giver' is with 'needy'", errors, StringComparison.Ordinal);

        // One that is to be made gets no drive of the group, and without a group each volume has its own again.
        string text = await File.ReadAllTextAsync(file);
        await File.WriteAllTextAsync(file, text.Replace("spare-group: other", "spare-group: pool", StringComparison.Ordinal)
            .Replace("  giver:", "  gone:", StringComparison.Ordinal));
        (int code, _, errors) = await RunAsync("apply", file, "--dry-run");
        Assert.Equal(4, code);
        Assert.Contains("giver-spare is a drive of volume 'needy'", errors, StringComparison.Ordinal);
        await File.WriteAllTextAsync(file, text.Replace("spare-group: pool", "spare-group: off", StringComparison.Ordinal));
        (code, _, errors) = await RunAsync("apply", file, "--dry-run");
        Assert.Equal(4, code);
        Assert.Contains("giver-spare is a drive of volume 'needy'", errors, StringComparison.Ordinal);
    }

    private string Spare(string volume) => $"file:{PathOf(volume + "-spare")},size=4MiB";

    private async Task ServeAsync(params (string Name, string? Group)[] volumes)
    {
        foreach ((string name, _) in volumes)
        {
            await CreateAsync(name, "raid1", 2);
        }

        Share(volumes);
        await StartAsync();
        await Daemon!.Settled.WaitAsync(TooLong);
    }

    private void Share(params (string Name, string? Group)[] volumes)
    {
        foreach ((string name, string? group) in volumes)
        {
            Store.Change(name, r => r with { Exports = [new ExportRecord { Frontend = "nbd" }] });
            if (group is not null)
            {
                MustAsync("volume", "set", name, "--spare-group", group).GetAwaiter().GetResult();
                Assert.Equal(group, Store.Get(name).SpareGroup);
            }
        }
    }

    private async Task<JsonElement> ArrayAsync(string volume) =>
        (await ShowAsync(volume)).GetProperty("live").GetProperty("array");

    private static async Task WaitAsync(Func<Task<bool>> isSo)
    {
        for (long end = Environment.TickCount64 + (long)TooLong.TotalMilliseconds; !await isSo(); await Task.Delay(20))
        {
            Assert.True(Environment.TickCount64 < end, "it did not come");
        }
    }
}
