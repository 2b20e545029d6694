// What an earlier process left behind: found by its mark, waited for, refused, listed, deleted.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives.Ram;
using static Polyblk.Frontends.Ublk.UblkAbi;

namespace Polyblk.Frontends.Ublk.Tests;

public sealed class UblkRecoveryTests : IDisposable
{
    private const string Id = "data/ublk/0";
    private static readonly Guid s_volume = Guid.Parse("5f0d6c1e-0000-4000-8000-000000000001");
    private static readonly Guid s_otherVolume = Guid.Parse("5f0d6c1e-0000-4000-8000-000000000002");

    private readonly FakeHost _fake = new();
    private readonly FakeControl _control = new();
    private readonly string _state = Directory.CreateTempSubdirectory("polyblk-ublk-state-").FullName;
    private readonly UblkStateStore _store;
    private readonly UblkDeviceFinder _finder;

    public UblkRecoveryTests()
    {
        _store = new UblkStateStore(_state);
        _finder = new UblkDeviceFinder(_control, _fake.Host, _store);
    }

    public void Dispose()
    {
        _fake.Dispose();
        Directory.Delete(_state, recursive: true);
    }

    private static UblkState Record(uint device) => new(Id, "data", s_volume, device);

    private int Starts() => _control.Sent.Count(s => s.Command == UBLK_U_CMD_START_USER_RECOVERY);

    [Fact]
    public void State_is_kept_replaced_and_read_back()
    {
        Assert.Null(_store.Load(Id));
        _store.Save(new UblkState(Id, "data", s_volume, 3));
        _store.Save(new UblkState(Id, "data", s_volume, 4));
        _store.Save(new UblkState("data/ublk/0 ", "other", s_volume, 5)); // the same letters in its file's name, but another export
        Assert.Equal(new UblkState(Id, "data", s_volume, 4), _store.Load(Id));
        Assert.Equal([4u, 5u], _store.LoadAll().Select(s => s.Device).Order());
        _store.Delete(Id);
        Assert.Null(_store.Load(Id));
    }

    [Fact]
    public void A_torn_record_counts_as_none()
    {
        _store.Save(new UblkState(Id, "data", s_volume, 3));
        string file = Directory.GetFiles(Path.Combine(_state, "ublk")).Single();
        File.WriteAllText(file, "{\"ExportId\": \"da");
        Assert.Null(_store.Load(Id));
        Assert.Empty(_store.LoadAll());
    }

    [Fact]
    public void Marks_tell_exports_and_volumes_apart()
    {
        Assert.NotEqual(UblkStateStore.MarkOf("a", s_volume), UblkStateStore.MarkOf("b", s_volume));
        Assert.NotEqual(UblkStateStore.MarkOf("a", s_volume), UblkStateStore.MarkOf("a", s_otherVolume));
        Assert.Equal(UblkStateStore.MarkOf("a", s_volume), UblkStateStore.MarkOf("a", s_volume));
        Assert.True(UblkStateStore.IsMark(UblkStateStore.MarkOf("a", s_volume)));
        Assert.False(UblkStateStore.IsMark(0));
    }

    [Fact]
    public async Task Finds_the_device_by_its_mark_even_without_a_record()
    {
        _fake.AddDevice(1);
        _fake.AddDevice(6);
        _control.Add(1, UBLK_S_DEV_LIVE, 9, mark: 0);
        _control.Add(6, UBLK_S_DEV_QUIESCED, 9, UblkStateStore.MarkOf(Id, s_volume));
        Assert.Equal(6u, (await _finder.FindAsync(Id, s_volume))!.Value.dev_id);
        Assert.Null(await _finder.FindAsync("another", s_volume));

        // A record that points at somebody else's device is not believed.
        _store.Save(new UblkState(Id, "data", s_volume, 1));
        Assert.Equal(6u, (await _finder.FindAsync(Id, s_volume))!.Value.dev_id);
    }

    [Fact]
    public async Task Never_takes_over_the_device_of_another_volume_of_that_name()
    {
        _fake.AddDevice(6);
        _control.Add(6, UBLK_S_DEV_QUIESCED, 9, UblkStateStore.MarkOf(Id, s_otherVolume));
        Assert.Null(await _finder.FindAsync(Id, s_volume));

        // Nor when the record is of that volume: it was deleted, and made anew under its name.
        _store.Save(new UblkState(Id, "data", s_otherVolume, 6));
        Assert.Null(await _finder.FindAsync(Id, s_volume));
        Assert.Equal(6u, (await _finder.FindAsync(Id, s_otherVolume))!.Value.dev_id);
    }

    [Fact]
    public async Task An_orphan_behind_the_link_is_told()
    {
        _control.Add(6, UBLK_S_DEV_QUIESCED, 9, UblkStateStore.MarkOf(Id, s_otherVolume));
        var own = new ublksrv_ctrl_dev_info { dev_id = 0, ublksrv_flags = UblkStateStore.MarkOf(Id, s_volume) };
        Assert.Equal(6u, await _finder.FindOrphanBehindAsync("/dev/ublkb6", own));
        foreach (string? target in (string?[])["/dev/ublkb7", "/dev/sda", null])
        {
            Assert.Null(await _finder.FindOrphanBehindAsync(target, own));
        }

        Assert.Null(await _finder.FindOrphanBehindAsync("/dev/ublkb6", _control.Devices[6]));

        // The number is another server's by now: the link was stale.
        _fake.AddProcess(80, "polyblk", "/dev/ublkc6");
        _control.Add(6, UBLK_S_DEV_LIVE, 80, UblkStateStore.MarkOf("other/ublk/0", s_otherVolume));
        Assert.Null(await _finder.FindOrphanBehindAsync("/dev/ublkb6", own));
    }

    [Fact]
    public async Task Without_a_UUID_only_the_recorded_device_is_the_exports()
    {
        _fake.AddDevice(6);
        _control.Add(6, UBLK_S_DEV_QUIESCED, 9, UblkStateStore.MarkOf(Id, Guid.Empty));
        Assert.Null(await _finder.FindAsync(Id, Guid.Empty));
        _store.Save(new UblkState(Id, "data", Guid.Empty, 6));
        Assert.Equal(6u, (await _finder.FindAsync(Id, Guid.Empty))!.Value.dev_id);
    }

    [Fact]
    public async Task Waits_until_the_driver_has_cleaned_up()
    {
        _control.Add(6, UBLK_S_DEV_LIVE, pid: 9, UblkStateStore.MarkOf(Id, s_volume));
        _control.RecoveryResults.Enqueue(-Errno.EBUSY);
        _control.RecoveryResults.Enqueue(-Errno.EBUSY);
        Assert.True(await _finder.PrepareRecoveryAsync(Record(6)));
        Assert.Equal(3, Starts());
        Assert.Equal(TimeSpan.FromMilliseconds(40), _control.Time.Passed);
    }

    [Fact]
    public async Task Gives_up_on_a_driver_that_does_not_clean_up()
    {
        _control.Add(6, UBLK_S_DEV_LIVE, pid: 9, UblkStateStore.MarkOf(Id, s_volume));
        for (int i = 0; i < 2000; i++)
        {
            _control.RecoveryResults.Enqueue(-Errno.EBUSY);
        }

        FrontendException e = await Assert.ThrowsAsync<FrontendException>(() => _finder.PrepareRecoveryAsync(Record(6)));
        Assert.Contains($"cannot be taken over (errno {Errno.EBUSY}", e.Message, StringComparison.Ordinal);
        Assert.InRange(_control.Time.Passed, TimeSpan.FromSeconds(20), TimeSpan.FromSeconds(21));
    }

    [Fact]
    public async Task Never_takes_over_from_a_living_server()
    {
        _fake.AddProcess(80, "polyblk", "/dev/ublkc6");
        _control.Add(6, UBLK_S_DEV_LIVE, pid: 80, UblkStateStore.MarkOf(Id, s_volume));
        FrontendException e = await Assert.ThrowsAsync<FrontendException>(() => _finder.PrepareRecoveryAsync(Record(6)));
        Assert.Contains("process 80", e.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(_control.Sent, s => s.Command == UBLK_U_CMD_START_USER_RECOVERY);
    }

    /// <summary>
    /// Before Linux 6.16 a second START_USER_RECOVERY would follow a null pointer where some queues were fetched and others not.
    /// </summary>
    [Fact]
    public async Task A_take_over_that_was_broken_off_is_not_begun_again_where_the_driver_could_not_bear_it()
    {
        _control.Add(6, UBLK_S_DEV_QUIESCED, pid: 9, UblkStateStore.MarkOf(Id, s_volume), UblkFeatures.UserRecovery);
        Assert.False(_finder.WasLeftHalfTakenOver(Record(6), _control.Devices[6]));
        Assert.True(await _finder.PrepareRecoveryAsync(Record(6)));
        Assert.Equal(1, Starts());

        // Here the successor dies; so does the next one.
        for (int i = 0; i < 2; i++)
        {
            Assert.True(_finder.WasLeftHalfTakenOver(Record(6), _control.Devices[6]));
            Assert.True(await _finder.PrepareRecoveryAsync(Record(6)));
            Assert.Equal(1, Starts());
        }

        // This one comes to the end of it, and dies later.
        _finder.EndTakeOver(Record(6), _control.Devices[6]);
        Assert.Equal(Record(6), _store.Load(Id));
        Assert.True(await _finder.PrepareRecoveryAsync(Record(6)));
        Assert.Equal(2, Starts());
    }

    [Theory]
    [InlineData(UblkFeatures.UserRecovery, 1)]
    [InlineData(UblkFeatures.UserRecovery | UblkFeatures.Quiesce, 4)]
    public async Task A_take_over_that_was_broken_off_is_begun_again_where_the_driver_can(UblkFeatures flags, ushort queues)
    {
        _control.Add(6, UBLK_S_DEV_QUIESCED, pid: 9, UblkStateStore.MarkOf(Id, s_volume), flags);
        _control.Devices[6] = _control.Devices[6] with { nr_hw_queues = queues };
        Assert.True(await _finder.PrepareRecoveryAsync(Record(6)));
        Assert.False(_finder.WasLeftHalfTakenOver(Record(6), _control.Devices[6]));
        Assert.True(await _finder.PrepareRecoveryAsync(Record(6)));
        Assert.Equal(2, Starts());
    }

    [Fact]
    public async Task A_record_of_another_device_says_nothing_of_this_ones_take_over()
    {
        _control.Add(6, UBLK_S_DEV_QUIESCED, pid: 9, UblkStateStore.MarkOf(Id, s_volume), UblkFeatures.UserRecovery);
        _store.Save(new UblkState(Id, "data", s_otherVolume, 6, TakeOverBegun: true));
        Assert.False(_finder.WasLeftHalfTakenOver(Record(6), _control.Devices[6]));
        _store.Save(new UblkState(Id, "data", s_volume, 5, TakeOverBegun: true));
        Assert.False(_finder.WasLeftHalfTakenOver(Record(6), _control.Devices[6]));
    }

    [Fact]
    public async Task A_driver_that_nobody_serves_since_the_last_take_over_began_takes_the_next_successor()
    {
        _control.Add(6, UBLK_S_DEV_QUIESCED, pid: 9, UblkStateStore.MarkOf(Id, s_volume), UblkFeatures.UserRecovery);
        _control.RecoveryResults.Enqueue(-Errno.EINVAL);
        Assert.True(await _finder.PrepareRecoveryAsync(Record(6)));
    }

    [Theory]
    [InlineData(false, false, null)]
    [InlineData(true, true, null)]
    [InlineData(false, true, "left behind writable")]
    [InlineData(true, false, "left behind read-only")]
    public async Task What_a_device_was_made_for_is_not_changed_by_its_successor(bool was, bool wanted, string? refusal)
    {
        await using var drive = new RamDrive(1 << 20);
        ublk_params parameters = UblkParameters.Build(
            drive.Limits, drive.SizeBytes, was, 64 << 10, UblkPlan.Choose("copy", UblkFeatures.None, drive.Limits, unprivileged: false));
        Exception? e = Xunit.Record.Exception(() => UblkFrontend.CheckSameVolume(6, parameters, new UblkVolume(drive, wanted)));
        Assert.Equal(refusal is null, e is null);
        Assert.Contains(refusal ?? string.Empty, e?.Message ?? string.Empty, StringComparison.Ordinal);

        // A smaller volume, or one of other blocks, is no better.
        parameters.basic.dev_sectors++;
        Assert.Throws<FrontendException>(() => UblkFrontend.CheckSameVolume(6, parameters, new UblkVolume(drive, was)));
        parameters.basic.dev_sectors -= 2;
        UblkFrontend.CheckSameVolume(6, parameters, new UblkVolume(drive, was));
        parameters.basic.logical_bs_shift = 12;
        Assert.Throws<FrontendException>(() => UblkFrontend.CheckSameVolume(6, parameters, new UblkVolume(drive, was)));
    }

    [Fact]
    public async Task A_dead_device_is_not_recovered_and_a_refusal_says_what_to_do()
    {
        _control.Add(6, UBLK_S_DEV_DEAD, pid: -1, UblkStateStore.MarkOf(Id, s_volume));
        Assert.False(await _finder.PrepareRecoveryAsync(Record(6)));
        Assert.False(await _finder.PrepareRecoveryAsync(Record(7)));
        _control.Add(6, UBLK_S_DEV_QUIESCED, pid: 9, UblkStateStore.MarkOf(Id, s_volume), UblkFeatures.UserRecovery | UblkFeatures.Quiesce);
        _control.RecoveryResults.Enqueue(-Errno.EINVAL);
        FrontendException e = await Assert.ThrowsAsync<FrontendException>(() => _finder.PrepareRecoveryAsync(Record(6)));
        Assert.Contains("polyblk ublk delete 6", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Lists_devices_with_their_exports_and_orphans()
    {
        _store.Save(new UblkState(Id, "data", s_volume, 6));
        _fake.AddDevice(6);
        _fake.AddDevice(7);
        _fake.AddProcess(80, "other", "/dev/ublkc7");
        _control.Add(6, UBLK_S_DEV_QUIESCED, pid: 9, UblkStateStore.MarkOf(Id, s_volume), UblkFeatures.UserCopy | UblkFeatures.AutoBufReg);
        _control.Parameters[6] = new ublk_params { basic = new ublk_param_basic { dev_sectors = 2048 } };
        _control.Add(7, UBLK_S_DEV_LIVE, pid: 80, mark: 0);
        UblkReaper reaper = Reaper();
        IReadOnlyList<UblkDeviceInfo> devices = await reaper.ListAsync();
        Assert.Equal(["/dev/ublkb6", "/dev/ublkb7"], devices.Select(d => d.Path));
        UblkDeviceInfo ours = devices[0];
        Assert.Equal(("quiesced", true, true, Id, "data", 1L << 20, UblkCopyMode.ZeroCopy),
            (ours.State, ours.IsOurs, ours.IsOrphan, ours.ExportId, ours.VolumeName, ours.SizeBytes, ours.CopyMode));
        Assert.Equal((false, false, null), (devices[1].IsOurs, devices[1].IsOrphan, devices[1].ExportId));
        Assert.Equal(6u, Assert.Single(await reaper.RecoverableAsync()).Number);
    }

    [Fact]
    public async Task Deletes_orphans_of_ours_and_the_rest_only_by_force()
    {
        foreach (uint number in (uint[])[1, 2, 3, 4])
        {
            _fake.AddDevice(number);
        }

        _fake.AddProcess(80, "polyblk", "/dev/ublkc2");
        _fake.AddProcess(81, "fio", "/dev/ublkb3");
        _control.Add(1, UBLK_S_DEV_QUIESCED, 9, mark: 0);
        _control.Add(2, UBLK_S_DEV_LIVE, 80, UblkStateStore.MarkOf("live", s_volume));
        _control.Add(3, UBLK_S_DEV_QUIESCED, 9, UblkStateStore.MarkOf("used", s_volume));
        _control.Add(4, UBLK_S_DEV_QUIESCED, 9, UblkStateStore.MarkOf("orphan", s_volume));
        UblkReaper reaper = Reaper();
        (uint Number, string Reason)[] refused = [(1, "not made by polyblk"), (2, "process 80"), (3, "opened by fio"), (5, "no ublk device 5")];
        foreach ((uint number, string reason) in refused)
        {
            FrontendException e = await Assert.ThrowsAsync<FrontendException>(() => reaper.DeleteAsync(number, force: false));
            Assert.Contains(reason, e.Message, StringComparison.Ordinal);
        }

        await reaper.DeleteAsync(4, force: false);
        await reaper.DeleteAsync(3, force: true);
        Assert.Equal([1u, 2u], _control.Devices.Keys.Order());
        Assert.Equal([UBLK_U_CMD_STOP_DEV, UBLK_U_CMD_DEL_DEV], _control.Sent.Where(s => s.Device == 4).Select(s => s.Command).Where(c => c is UBLK_U_CMD_STOP_DEV or UBLK_U_CMD_DEL_DEV));
    }

    [Fact]
    public async Task A_deletion_that_somebody_holds_up_says_who()
    {
        _fake.AddDevice(3);
        _fake.AddProcess(81, "fio", "/dev/ublkb3");
        _control.Add(3, UBLK_S_DEV_QUIESCED, 9, UblkStateStore.MarkOf("used", s_volume));
        _control.DeleteResult = -Errno.ETIMEDOUT;
        FrontendException e = await Assert.ThrowsAsync<FrontendException>(() => Reaper().DeleteAsync(3, force: true));
        Assert.Contains("fio (process 81)", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true, 3, "errno 22")]
    [InlineData(false, 1, "errno 13")]
    public async Task A_start_waits_for_udev_to_give_a_user_his_node_and_leaves_nothing_when_it_fails(bool unprivileged, int attempts, string refusal)
    {
        foreach (int errno in (int[])[Errno.EACCES, Errno.ENOENT, Errno.EINVAL])
        {
            _control.ParameterResults.Enqueue(-errno);
        }

        await using var drive = new RamDrive(1 << 20);
        using var reactors = new ReactorGroup([new ReactorOptions { Name = "test" }]);
        var wanted = new ublksrv_ctrl_dev_info { dev_id = 6, nr_hw_queues = 1, queue_depth = 4, flags = (ulong)(unprivileged ? UblkFeatures.UnprivilegedDev : UblkFeatures.None) };
        UblkPlan plan = UblkPlan.Choose("copy", UblkFeatures.None, drive.Limits, unprivileged);
        FrontendException e = await Assert.ThrowsAsync<FrontendException>(
            () => UblkDevice.CreateAsync(_control, wanted, default, plan, new UblkVolume(drive, ReadOnly: false), reactors, CancellationToken.None));
        Assert.Contains(refusal, e.Message, StringComparison.Ordinal);
        Assert.Equal(attempts, _control.Sent.Count(s => s.Command == UBLK_U_CMD_SET_PARAMS));
        Assert.Empty(_control.Devices);
    }

    private UblkReaper Reaper() => new(() => Task.FromResult<IUblkControl>(_control), _fake.Host, [_store]);
}
