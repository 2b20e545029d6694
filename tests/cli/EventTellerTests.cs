// Facts become lines of the log and events that name a drive by all that leads to it; and there is a bound on what sessions tell.

using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Core.Block;
using Polyblk.Frontends;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;
using Polyblk.Raid;
using Polyblk.Raid.Superblock;

namespace Polyblk.Cli.Tests;

public sealed class EventTellerTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("pbt").FullName;

    private StateDirectories Directories => new(_directory, Path.Combine(_directory, "run"));

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task AFailureNamesTheDriveTheOperationTheOffsetAndTheError()
    {
        await using (var log = new EventLog(new EventStore(Directories), NullLogger.Instance))
        {
            new EventTeller("data", log, NullLogger.Instance).Tell(new ArrayEvent(ArrayEventKind.MemberFailed)
            {
                Array = "data", Role = 2, Drive = "/dev/sdx", WhyOut = OutReason.Errors,
                Fault = new BlockFault(BlockOperation.Write, 1 << 20, 4096, Errno.EREMOTEIO),
            });
        }

        EventJson e = Assert.Single(new EventStore(Directories).Read());
        Assert.Equal(("member-failed", EventSeverity.Warning, "data", 2), (e.Kind, e.Severity, e.Volume, e.Member));
        Assert.Equal(("errors", "write", "EREMOTEIO"), (e.Cause, e.Operation, e.Errno));
        Assert.Equal((1L << 20, 4096L), (e.OffsetBytes, e.LengthBytes));
        Assert.Equal("/dev/sdx", e.Drive!.Path);
        const string Said = "member 2 (/dev/sdx) has failed and is out (write of 4096 bytes at 1048576: ";
        Assert.Contains(Said, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ADriveIsNamedByAllThatIsKnownOfIt() => Assert.Equal(
        "/dev/disk/by-id/wwn-1, serial S1, slot Slot 05",
        new DriveJson("/dev/sdb") { ById = "/dev/disk/by-id/wwn-1", Serial = "S1", Slot = "Slot 05" }.Describe());

    /// <summary>A SCSI disk in an enclosure, and an NVMe drive in a slot of the board, as sysfs shows them.</summary>
    [Fact]
    public void SerialAndSlotAreWhatSysfsSays()
    {
        string disk = Path.Combine(_directory, "devices/pci0000:00/0000:00:1f.2/host0/block/sda");
        string scsi = Path.Combine(_directory, "devices/pci0000:00/0000:00:1f.2/host0");
        Directory.CreateDirectory(disk);
        Directory.CreateDirectory(Path.Combine(scsi, "enclosure_device:Slot 05"));
        File.WriteAllText(Path.Combine(scsi, "wwid"), "naa.5000c500\n");
        Directory.CreateSymbolicLink(Path.Combine(disk, "device"), scsi);
        string nvme = Path.Combine(_directory, "devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/nvme/nvme0");
        Directory.CreateDirectory(Path.Combine(nvme, "nvme0n1"));
        File.WriteAllText(Path.Combine(nvme, "serial"), "  S4X\n");
        Directory.CreateSymbolicLink(Path.Combine(nvme, "nvme0n1/device"), nvme);
        string slot = Path.Combine(_directory, "bus/pci/slots/7");
        Directory.CreateDirectory(slot);
        File.WriteAllText(Path.Combine(slot, "address"), "0000:3b:00\n");
        Directory.CreateDirectory(Path.Combine(_directory, "class/block"));
        Directory.CreateSymbolicLink(Path.Combine(_directory, "class/block/sda"), disk);
        Directory.CreateSymbolicLink(Path.Combine(_directory, "class/block/nvme0n1"), Path.Combine(nvme, "nvme0n1"));
        var sysfs = new DriveIdentity(_directory);
        Assert.Equal(("naa.5000c500", "Slot 05"), (sysfs.SerialOf("sda"), sysfs.SlotOf("sda")));
        Assert.Equal(("S4X", "7"), (sysfs.SerialOf("nvme0n1"), sysfs.SlotOf("nvme0n1")));
        Assert.Equal((null, null), (sysfs.SerialOf("gone"), sysfs.SlotOf("gone")));
    }

    [Fact]
    public async Task SessionsThatComeAgainAndAgainPushNothingOut()
    {
        var clock = new HandClock();
        await using (var log = new EventLog(new EventStore(Directories), NullLogger.Instance))
        {
            using var sessions = new SessionTeller(new EventTeller("data", log, NullLogger.Instance), clock);
            for (int i = 0; i < 500; i++)
            {
                sessions.Tell(new SessionChange("data/nbd/0", $"data/nbd/0#{i}", "user 1000", i % 2 == 0 ? null : "it left"));
            }

            sessions.Tell(new SessionChange("data/nbd/1", "data/nbd/1#1", "user 1000", null));
            clock.Now += SessionTeller.WindowLength.Ticks;
            sessions.Tell(new SessionChange("data/nbd/0", "data/nbd/0#500", "user 1000", "it left"));
        }

        IReadOnlyList<EventJson> kept = new EventStore(Directories).Read();
        Assert.Equal(SessionTeller.MostInWindow + 3, kept.Count);
        Assert.Equal(500 - SessionTeller.MostInWindow, Assert.Single(kept, e => e.Kind == EventKinds.SessionsNotTold).Count);
        Assert.Contains(kept, e => e.Export == "data/nbd/1");
        Assert.Equal("data/nbd/0#500", kept[^1].Session);
    }

    /// <summary>Who tells waits for nothing: what is too much is counted, and said when there is room.</summary>
    [Fact]
    public async Task WhatComesFasterThanItCanBeKeptIsCounted()
    {
        using SafeHold hold = SafeHold.Of(new EventStore(Directories));
        await using (var log = new EventLog(new EventStore(Directories), NullLogger.Instance))
        {
            var teller = new EventTeller("data", log, NullLogger.Instance);
            for (int i = 0; i < 5000; i++)
            {
                teller.Tell(new EventJson { Kind = EventKinds.VolumeServed, Volume = "data" });
            }

            hold.Dispose();
        }

        IReadOnlyList<EventJson> kept = new EventStore(Directories).Read();
        long? lost = kept.Where(e => e.Kind == EventKinds.EventsLost).Sum(e => e.Count);
        Assert.Equal(5000, lost + kept.Count(e => e.Kind == EventKinds.VolumeServed));
    }

    [Fact]
    public void EveryKindOfTheHostHasWords()
    {
        string[] own = [.. EventKinds.All.Except(Enum.GetValues<ArrayEventKind>().Select(EventKinds.Of))];
        Assert.Equal(20, own.Length);
        var some = new EventJson { Kind = string.Empty, Volume = "v", Export = "v/nbd/0", Drive = new DriveJson("d") };
        EventJson[] all = [.. own.Select(kind => some with { Kind = kind })];
        Assert.All(all, e => Assert.NotEmpty(EventWords.MessageOf(e)));
        Assert.All(EventKinds.All, kind => Assert.Matches("^[a-z]+(-[a-z]+)*$", kind));
    }

    private sealed class HandClock : TimeProvider
    {
        public long Now { get; set; }

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Now;
    }

    /// <summary>Somebody else who keeps the lock of the events.</summary>
    private sealed class SafeHold(IDisposable handle) : IDisposable
    {
        public static SafeHold Of(EventStore store)
        {
            StateDirectories.Ensure(store.Folder);
            var handle = VolumeLock.OpenFile(Path.Combine(store.Folder, "lock"));
            Assert.Equal(0, Core.Interop.Libc.flock((int)handle.DangerousGetHandle(), Core.Interop.Libc.LOCK_EX));
            return new SafeHold(handle);
        }

        public void Dispose() => handle.Dispose();
    }
}
