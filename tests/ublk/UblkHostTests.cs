// Who uses a device, and what lies on one, seen through files that look like a host's.

namespace Polyblk.Frontends.Ublk.Tests;

public sealed class UblkHostTests : IDisposable
{
    private readonly FakeHost _fake = new();

    public void Dispose() => _fake.Dispose();

    [Fact]
    public void Lists_devices_by_number()
    {
        Assert.Empty(_fake.Host.Devices());
        foreach (uint number in (uint[])[10, 2, 0])
        {
            _fake.AddDevice(number);
        }

        Assert.Equal([0u, 2u, 10u], _fake.Host.Devices());
    }

    [Fact]
    public void An_idle_device_has_no_users()
    {
        _fake.AddDevice(1);
        _fake.AddProcess(50, "bash", "/dev/tty", "/dev/ublkb10");
        Assert.Empty(_fake.Host.UsersOf(1));
    }

    [Fact]
    public void Names_mounts_in_any_namespace_partitions_swap_holders_and_openers()
    {
        _fake.AddDevice(1);
        _fake.Write("sys/block/ublkb1/ublkb1p2/partition", "2");
        _fake.Write("sys/class/block/ublkb1p2/dev", "259:77\n");
        _fake.Write("proc/swaps", "Filename\tType\tSize\n/dev/ublkb1   partition\t100\n");
        _fake.Write("sys/class/block/ublkb1/holders/dm-3/dev", "253:3");
        _fake.AddProcess(60, "container", "/dev/ublkb1");
        _fake.Link("proc/60/ns/mnt", "mnt:[2]");
        _fake.Write("proc/60/mountinfo", "30 1 259:77 / /data\\040dir rw - ext4 /dev/ublkb1p2 rw\n");
        IReadOnlyList<string> users = _fake.Host.UsersOf(1);
        Assert.Equal(
            ["mounted at /data dir", "/dev/ublkb1 is swap space", "/dev/dm-3 is built on it", "opened by container (process 60)"], users);
        Assert.Equal([("/data dir", 60)], _fake.Host.MountsOf(1));
        Assert.False(_fake.Host.IsMountedHere(1));
        Assert.True(_fake.Host.IsSwap(1));
    }

    [Fact]
    public void Sees_a_mount_in_its_own_namespace()
    {
        _fake.AddDevice(4);
        _fake.Write("proc/self/mountinfo", "31 1 259:4 / /mnt rw - xfs /dev/ublkb4 rw\n");
        Assert.True(_fake.Host.IsMountedHere(4));
    }

    [Fact]
    public void A_server_lives_when_its_process_holds_the_character_device()
    {
        _fake.AddProcess(70, "polyblk", "/dev/ublkc5");
        _fake.AddProcess(71, "other", "/dev/null");
        _fake.Write("proc/72/stat", "72 (gone) Z 1\n");
        Assert.True(_fake.Host.IsServing(70, 5));
        Assert.False(_fake.Host.IsServing(71, 5)); // the number went to another process
        Assert.False(_fake.Host.IsServing(72, 5)); // a zombie
        Assert.False(_fake.Host.IsServing(73, 5));
        Assert.False(_fake.Host.IsServing(-1, 5));
    }

    [Fact]
    public void Finds_the_devices_below_its_own_open_files()
    {
        for (uint number = 1; number <= 4; number++)
        {
            _fake.AddDevice(number);
        }

        _fake.Write("proc/self/mountinfo", "31 1 259:2 / /mnt rw - xfs /dev/ublkb2 rw\n32 1 8:1 / /home rw - ext4 /dev/sda1 rw\n");
        _fake.Link("proc/self/fd/1", "/dev/ublkb1p3");
        _fake.Link("proc/self/fd/2", "/mnt/disk.img");
        _fake.Write("proc/self/fdinfo/2", "pos:\t0\nflags:\t02\nmnt_id:\t31\n");
        _fake.Link("proc/self/fd/3", "/dev/md0");
        _fake.Write("sys/class/block/md0/slaves/dm-1/x", "");
        _fake.Write("sys/class/block/dm-1/slaves/ublkb3/x", "");
        _fake.Link("proc/self/fd/4", "/home/other");
        _fake.Write("proc/self/fdinfo/4", "mnt_id:\t32\n");
        _fake.Link("proc/self/fd/5", "socket:[123]");
        Assert.Equal([1u, 2u, 3u], _fake.Host.DevicesUsedByThisProcess().Order());
    }

    [Fact]
    public void Knows_whether_the_module_is_there()
    {
        Assert.False(_fake.Host.HasModule("ublk_drv"));
        _fake.Write("proc/sys/kernel/osrelease", "7.3.4\n");
        _fake.Write("lib/modules/7.3.4/modules.dep", "kernel/drivers/block/ublk_drv.ko.xz:\n");
        Assert.True(_fake.Host.HasModule("ublk_drv"));
    }

    [Fact]
    public void Limits_the_requests_of_a_device_under_its_scheduler()
    {
        _fake.AddDevice(2);
        _fake.Write("sys/block/ublkb2/queue/scheduler", "none [mq-deadline] kyber\n");
        _fake.Write("sys/block/ublkb2/queue/nr_requests", "256\n");
        Assert.True(_fake.Host.LimitRequests(2, 128));
        Assert.Equal("128", File.ReadAllText(Path.Combine(_fake.Root, "sys/block/ublkb2/queue/nr_requests")));
        Assert.Equal("mq-deadline", File.ReadAllText(Path.Combine(_fake.Root, "sys/block/ublkb2/queue/scheduler")));
        Assert.False(_fake.Host.LimitRequests(3, 128));
    }
}
