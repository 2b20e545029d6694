// What an array tells: facts, and one sentence for each.

using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Map;
using Polyblk.Raid.Superblock;
using static Polyblk.Raid.Tests.Arrays.TestBytes;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class EventTests
{
    [Fact]
    public void Every_kind_has_a_sentence_and_a_level() => Assert.All(Enum.GetValues<ArrayEventKind>(), kind =>
    {
        var e = new ArrayEvent(kind)
        {
            Array = "data", Role = 1, Drive = "/dev/a", NewDrive = "/dev/b", Reason = "why.", Count = 2, Of = 3, Percent = 10,
            Seconds = 4, OffsetBytes = 4096, Scrub = Scrub(0),
        };
        Assert.StartsWith("Array data", e.Message, StringComparison.Ordinal);
        Assert.EndsWith(".", e.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("..", e.Message, StringComparison.Ordinal);
        Assert.True(Enum.IsDefined(e.Level));
    });

    [Fact]
    public void A_scrub_that_found_something_is_a_warning_and_says_what()
    {
        Assert.Equal(ArrayEventLevel.Information, new ArrayEvent(ArrayEventKind.ScrubEnded) { Scrub = Scrub(0) }.Level);
        var found = new ArrayEvent(ArrayEventKind.ScrubEnded) { Array = "data", Scrub = Scrub(3) };
        Assert.Equal(ArrayEventLevel.Warning, found.Level);
        Assert.Contains("3 ranges in which members differ were left", found.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_member_that_fails_is_told_with_its_drive_and_what_it_answered_and_then_what_that_means()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid5, 4, 16 << 10, 256 << 10);
        RequestDriver driver = await rig.OpenAsync();
        MemberPlace place = rig.Array.Geometry.Map(0);
        rig.Drives[place.Member].AddFault(new DriveFault
        {
            Operation = BlockOperation.Write, OffsetBytes = place.Offset, LengthBytes = 4096, Errno = Errno.EINVAL,
        });
        Assert.Equal(0, await driver.WriteAsync(0, Noise(4096, 1)));
        ArrayEvent failed = await TheAsync(rig, ArrayEventKind.MemberFailed);
        Assert.Equal((place.Member, rig.Drives[place.Member].Name), (failed.Role!.Value, failed.Drive));
        Assert.Equal(OutReason.Errors, failed.WhyOut);
        Assert.Equal(new BlockFault(BlockOperation.Write, place.Offset, 4096, Errno.EINVAL), failed.Fault);
        Assert.Contains($"(write of 4096 bytes at {place.Offset}: ", failed.Message, StringComparison.Ordinal);
        Assert.Equal(failed.Fault, rig.Array.GetStatus().Members[place.Member].LastFault);
        ArrayEvent degraded = await TheAsync(rig, ArrayEventKind.Degraded);
        Assert.Equal((1, 4), (degraded.Count, degraded.Of));
        Assert.Equal(ArrayEventLevel.Warning, degraded.Level);
        Assert.All(rig.Array.GetStatus().Members.Where(m => m.Role != place.Member), m => Assert.Null(m.LastFault));
    }

    [Fact]
    public async Task A_member_that_is_taken_out_as_asked_has_failed_nothing()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, 2);
        await rig.Array.FailMemberAsync(1);
        ArrayEvent failed = await TheAsync(rig, ArrayEventKind.MemberFailed);
        Assert.Equal((OutReason.Asked, null), (failed.WhyOut, failed.Fault));
    }

    /// <summary>A spare takes the place, is filled, and all redundancy is back: in that order.</summary>
    [Fact]
    public async Task A_loss_and_its_repair_are_told_from_end_to_end()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid1, 2, run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1) });
        var options = new SimulatedDriveOptions { Seed = 9, CanCrash = false };
        await using var spare = new SimulatedDrive(rig.Drives[0].SizeBytes, options);
        await rig.Array.AddSpareAsync(spare, force: false);
        await rig.Array.FailMemberAsync(1);
        await TheAsync(rig, ArrayEventKind.RedundancyRestored);
        ArrayEventKind[] told;
        lock (rig.Events)
        {
            told = [.. rig.Events.Select(e => e.Kind).Where(k => k != ArrayEventKind.RebuildProgress)];
        }

        ArrayEventKind[] wanted =
        [
            ArrayEventKind.MemberFailed, ArrayEventKind.Degraded, ArrayEventKind.SpareTaken, ArrayEventKind.RebuildStarted,
            ArrayEventKind.RebuildEnded, ArrayEventKind.RedundancyRestored,
        ];
        Assert.Equal(wanted.Order(), told.Where(wanted.Contains).Order());
        Assert.Equal(ArrayEventKind.RedundancyRestored, told[^1]);
        await rig.StopAsync();
    }

    /// <summary>One that is being noted while another one is never is half of each.</summary>
    [Fact]
    public async Task A_fault_is_read_as_one_of_those_that_were_noted()
    {
        var slot = new FaultSlot();
        Assert.Null(slot.Get());
        using var end = new CancellationTokenSource();
        Task[] writers = [.. Enumerable.Range(1, 2).Select(writer => Task.Run(() =>
        {
            for (int i = writer; !end.IsCancellationRequested; i += 2)
            {
                slot.Set(new BlockFault(BlockOperation.Write, i, i, i));
            }
        }))];
        SpinWait.SpinUntil(() => slot.Get() is not null);
        for (int look = 0; look < 200_000; look++)
        {
            if (slot.Get() is { } fault)
            {
                Assert.Equal((fault.OffsetBytes, fault.OffsetBytes), (fault.LengthBytes, fault.ErrorNumber));
            }
        }

        await end.CancelAsync();
        await Task.WhenAll(writers);
        Assert.NotNull(slot.Get());
    }

    [Fact]
    public void Errors_have_names()
    {
        Assert.Equal("EIO", Errno.NameOf(Errno.EIO));
        Assert.Equal("ENOSPC", Errno.NameOf(28));
        Assert.Equal("4095", Errno.NameOf(4095));
    }

    private static ScrubStatus Scrub(long differing) => new()
    {
        IsRepair = false, DoneBytes = 1, TotalBytes = 1, IsComplete = true, Differing = differing, Repaired = 0, MadeToAgree = 0,
        Skipped = 0, Unreadable = 0, FirstOffset = differing == 0 ? -1 : 512,
    };

    private static async Task<ArrayEvent> TheAsync(ArrayRig rig, ArrayEventKind kind)
    {
        ArrayEvent? found = null;
        await ArrayRig.WaitAsync(
            () =>
            {
                lock (rig.Events)
                {
                    found = rig.Events.Find(e => e.Kind == kind);
                    return found is not null;
                }
            },
            $"{kind}");
        return found!;
    }
}
