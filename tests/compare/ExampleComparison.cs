// A FIXTURE: the figures in this file are invented. They are of the kind and size that a comparison gives, so that the page and
// the verdict can be tested without running one; they say nothing about any machine or program.

using Polyblk.Compare.Results;

namespace Polyblk.Compare.Tests;

/// <summary>
/// An invented comparison with everything in it: both vantage points, peers, missing methods, a failed verification.
/// </summary>
internal static class ExampleComparison
{
    private const int Rounds = 5;

    private static readonly (string Name, string Title, AccessPattern Pattern, int Block, int Depth)[] Loads =
    [
        ("4k-randread-qd1", "4 KiB random read, QD 1", AccessPattern.RandomRead, 4096, 1),
        ("4k-randread-qd32", "4 KiB random read, QD 32", AccessPattern.RandomRead, 4096, 32),
        ("4k-randwrite-qd1", "4 KiB random write, QD 1", AccessPattern.RandomWrite, 4096, 1),
        ("4k-randwrite-qd32", "4 KiB random write, QD 32", AccessPattern.RandomWrite, 4096, 32),
        ("1024k-read-qd32", "1024 KiB sequential read, QD 32", AccessPattern.SequentialRead, 1 << 20, 32),
        ("1024k-write-qd32", "1024 KiB sequential write, QD 32", AccessPattern.SequentialWrite, 1 << 20, 32),
    ];

    // IOPS of the bare array for each load; what a method reaches of it; target and load processor time for a 4 KiB request in
    // us.
    private static readonly double[] BareIops = [61_000, 720_000, 24_000, 168_000, 9_400, 3_900];

    public static Comparison Make() => new()
    {
        StartedUtc = new DateTimeOffset(2026, 3, 14, 9, 26, 53, TimeSpan.Zero),
        ElapsedSeconds = 1_874,
        Environment = new EnvironmentFacts
        {
            Host = "example-host",
            Kernel = "6.12.41-amd64",
            Distribution = "Debian GNU/Linux 13 (trixie)",
            Cpu = "Example CPU, 32 cores",
            CpuCount = 32,
            MemoryBytes = 256L << 30,
            Virtualization = Virtualization.Kvm,
            ProgramVersion = "0.1.0",
            DotnetVersion = "10.0.1",
            QemuVersion = "10.0.2",
            FioVersion = "3.39",
            Scratch = "/dev/shm: 8 GiB were free",
            Noise = new NoiseReadings { StealPercent = 0.1, OtherLoadPercent = 1.4, LoadAverageAtStart = 0.3, ReferenceDriftPercent = 2.6 },
        },
        Volume = new VolumeFacts
        {
            Name = "example",
            Level = "raid5",
            SizeBytes = 12L << 30,
            ChunkBytes = 64 << 10,
            Members = ["/dev/nvme0n1", "/dev/nvme1n1", "/dev/nvme2n1", "/dev/nvme3n1"],
        },
        Settings = new MeasurementSettings
        {
            Rounds = Rounds, RuntimeSeconds = 5, WarmUpSeconds = 1, TargetCpus = [2, 3, 4, 5], LoadCpus = [8, 9, 10, 11], SpanBytes = 8L << 30, Seed = 20260314,
            CommandLine = "polyblk compare example --rounds 5 --runtime 5 --for vm --out results/",
        },
        Baseline = "array@host",
        Methods = [.. Methods.Select(m => m.Facts)],
        Workloads = [.. Loads.Select(l => new WorkloadFacts
        {
            Name = l.Name, Title = l.Title, Preset = "quick", Pattern = l.Pattern, BlockBytes = l.Block, QueueDepth = l.Depth, Jobs = 4, Engine = "io_uring, fixed buffers, registered files", Scaling = "jobs 32 → 4",
        })],
        Runs = [.. MakeRuns()],
        Restarts =
        [
            new RestartTest { Method = "vhost-user-4q@guest", GapMs = 214, IoErrors = 0, Verification = Verification.Passed, Detail = "QEMU reconnected after 100 ms" },
            new RestartTest { Method = "vduse@host", GapMs = 342, IoErrors = 0, Verification = Verification.Passed },
            new RestartTest { Method = "ublk-user-copy@host", GapMs = 181, IoErrors = 0, Verification = Verification.Passed },
            new RestartTest { Method = "nbd@host", GapMs = 1_950, IoErrors = 12, Verification = Verification.Passed, Detail = "the kernel's client gave up its connection" },
            new RestartTest { Method = "iothread-4@guest", IoErrors = 0, Detail = "not made: QEMU opens the volume through ublk, whose restart is measured above" },
        ],
        Efficiency = [.. MakeEfficiency()],
        Notes = ["The volume was scrubbed before it was measured.", "Turbo frequencies were left on."],
    };

    private static readonly (MethodFacts Facts, double Share, double TargetCpu, double LoadCpu, double Switches)[] Methods =
    [
        (Method("array@host", "array, no frontend", "polyblk", MethodRole.Bare, Vantage.Host) with { Load = "built-in load" }, 1.0, 0, 1.9, 0.01),
        (Method("vhost-user-1q@guest", "vhost-user, 1 queue", "vhost-user", MethodRole.Frontend, Vantage.Guest, Consumer.Vm) with
        {
            Load = "fio 3.39 with io_uring", CopyMode = "none: guest memory is read and written in place",
            Features = new MethodFeatures { Discard = true, Flush = true, Resize = true, MultiQueue = false, ReadOnly = true, LiveMigration = true },
            Needs = new MethodNeeds { SharedMemory = true, Programs = ["QEMU"] },
            Commands = ["polyblk serve example --frontend vhost-user --socket /run/polyblk/example-1q.sock --queues 1", "qemu-system-x86_64 -object memory-backend-memfd,id=mem,size=4G,share=on -machine memory-backend=mem -chardev socket,id=c0,path=/run/polyblk/example-1q.sock -device vhost-user-blk-pci,chardev=c0,num-queues=1"],
        }, 0.41, 2.1, 5.8, 0.4),
        (Method("vhost-user-4q@guest", "vhost-user, 4 queues", "vhost-user", MethodRole.Frontend, Vantage.Guest, Consumer.Vm) with
        {
            Load = "fio 3.39 with io_uring", CopyMode = "none: guest memory is read and written in place",
            Features = new MethodFeatures { Discard = true, Flush = true, Resize = true, MultiQueue = true, ReadOnly = true, LiveMigration = true },
            Needs = new MethodNeeds { SharedMemory = true, Programs = ["QEMU"] },
            Commands = ["polyblk serve example --frontend vhost-user --socket /run/polyblk/example-4q.sock --queues 4 --reactors 2-5", "qemu-system-x86_64 -object memory-backend-memfd,id=mem,size=4G,share=on -machine memory-backend=mem -chardev socket,id=c0,path=/run/polyblk/example-4q.sock -device vhost-user-blk-pci,chardev=c0,num-queues=4"],
        }, 0.82, 2.3, 5.9, 0.3),
        (Method("vduse@guest", "vduse", "vduse", MethodRole.Frontend, Vantage.Guest, Consumer.Vm) with
        {
            Load = "fio 3.39 with io_uring", CopyMode = "bounce buffers: the kernel has no REG_UMEM for vhost_vdpa",
            Features = new MethodFeatures { Discard = true, Flush = true, Resize = true, MultiQueue = true, ReadOnly = true, LiveMigration = false },
            Needs = new MethodNeeds { KernelModules = ["vduse", "vhost_vdpa"], Privileges = ["root"], SharedMemory = true, Programs = ["QEMU", "vdpa"] },
            Commands = ["polyblk serve example --frontend vduse --attach vhost", "vdpa dev add name example mgmtdev vduse"],
        }, 0.56, 3.9, 6.1, 0.9),
        (Method("vduse@host", "vduse", "vduse", MethodRole.Frontend, Vantage.Host, Consumer.Container) with
        {
            Load = "fio 3.39 with io_uring", CopyMode = "bounce buffers, registered (REG_UMEM)",
            Features = new MethodFeatures { Discard = true, Flush = true, Resize = true, MultiQueue = true, ReadOnly = true },
            Needs = new MethodNeeds { KernelModules = ["vduse", "virtio_vdpa"], Privileges = ["root"], Programs = ["vdpa"] },
            Commands = ["polyblk serve example --frontend vduse --attach virtio"],
        }, 0.61, 3.4, 3.3, 0.8),
        (Method("ublk-user-copy@host", "ublk, user copy", "ublk", MethodRole.Frontend, Vantage.Host, Consumer.Container) with
        {
            Load = "fio 3.39 with io_uring", CopyMode = "user copy: the array reads the data for its parity",
            Features = new MethodFeatures { Discard = true, Flush = true, Resize = false, MultiQueue = true, ReadOnly = true },
            Needs = new MethodNeeds { KernelModules = ["ublk_drv"], Privileges = ["root, or an unprivileged device"] },
            Commands = ["polyblk serve example --frontend ublk --queues 4"],
        }, 0.66, 3.2, 3.1, 0.6),
        (Method("ublk-zero-copy@host", "ublk, zero copy", "ublk", MethodRole.Frontend, Vantage.Host, Consumer.Container) with
        {
            Available = false, Verification = Verification.NotRun, Reason = "the kernel 6.12 has no automatic buffer registration (UBLK_F_AUTO_BUF_REG)",
            Remedies = ["boot a kernel from 6.16 on", "polyblk compare --inside-guest"],
        }, 0, 0, 0, 0),
        (Method("iothread-1@guest", "virtio-iothread, 1 iothread", "virtio-iothread", MethodRole.Frontend, Vantage.Guest, Consumer.Vm) with
        {
            Load = "fio 3.39 with io_uring", CopyMode = "through /dev/ublkb0 with aio=io_uring",
            Features = new MethodFeatures { Discard = true, Flush = true, Resize = true, MultiQueue = true, ReadOnly = true, LiveMigration = true },
            Needs = new MethodNeeds { KernelModules = ["ublk_drv"], Privileges = ["root"], Programs = ["QEMU from 9.0 on"] },
            Commands = ["polyblk serve example --frontend virtio-iothread --vcpus 4 --iothreads 1"],
        }, 0.23, 5.2, 6.0, 1.2),
        (Method("iothread-4@guest", "virtio-iothread, 4 iothreads", "virtio-iothread", MethodRole.Frontend, Vantage.Guest, Consumer.Vm) with
        {
            Load = "fio 3.39 with io_uring", CopyMode = "through /dev/ublkb0 with aio=io_uring",
            Features = new MethodFeatures { Discard = true, Flush = true, Resize = true, MultiQueue = true, ReadOnly = true, LiveMigration = true },
            Needs = new MethodNeeds { KernelModules = ["ublk_drv"], Privileges = ["root"], Programs = ["QEMU from 9.0 on"] },
            Commands = ["polyblk serve example --frontend virtio-iothread --vcpus 4 --iothreads 4"],
        }, 0.52, 5.6, 6.0, 1.1),
        (Method("nbd@host", "nbd", "nbd", MethodRole.Frontend, Vantage.Host, Consumer.Container) with
        {
            Load = "fio 3.39 with io_uring", CopyMode = "through a Unix socket: every byte is copied twice",
            Features = new MethodFeatures { Discard = true, Flush = true, Resize = true, MultiQueue = true, ReadOnly = true },
            Needs = new MethodNeeds { KernelModules = ["nbd"], Privileges = ["root"], Programs = ["nbd-client"] },
            Commands = ["polyblk serve example --frontend nbd", "nbd-client -unix /run/polyblk/example.nbd /dev/nbd0 -C 4"],
        }, 0.19, 7.9, 4.1, 2.3),
        (Method("qsd-vhost-user@guest", "qemu-storage-daemon, vhost-user", "qemu-storage-daemon", MethodRole.Peer, Vantage.Guest, Consumer.Vm) with
        {
            Load = "fio 3.39 with io_uring", Commands = ["qemu-storage-daemon --blockdev host_device,node-name=d,filename=/dev/md0,cache.direct=on,aio=io_uring --export vhost-user-blk,id=e,node-name=d,addr.type=unix,addr.path=/run/q.sock,writable=on"],
        }, 0.27, 5.5, 5.9, 1.3),
        (Method("loop@host", "loop over md RAID 5", "loop", MethodRole.Peer, Vantage.Host, Consumer.Container) with
        {
            Load = "fio 3.39 with io_uring", Verification = Verification.Failed, VerificationDetail = "block 8812 came back with the data of an older write",
            Commands = ["losetup --direct-io=on --find --show /srv/md.img"],
        }, 0.48, 0, 4.9, 1.0),
        (Method("mdadm@host", "mdadm, same level", "md", MethodRole.Peer, Vantage.Host, Consumer.Container) with
        {
            Available = false, Verification = Verification.NotRun, Reason = "mdadm is not installed", Remedies = ["apt-get install mdadm"],
        }, 0, 0, 0, 0),
    ];

    private static MethodFacts Method(string id, string title, string frontend, MethodRole role, Vantage vantage, params Consumer[] reaches) => new()
    {
        Id = id,
        Title = title,
        Frontend = frontend,
        Role = role,
        Vantage = vantage,
        Reaches = reaches,
        Available = true,
        Verification = Verification.Passed,
        VerificationDetail = "64 MiB written, read back and compared",
    };

    private static IEnumerable<MeasuredRun> MakeRuns()
    {
        var random = new Random(20260314);
        for (int round = 0; round < Rounds; round++)
        {
            // What the machine does to everybody in this round; it cancels out of ratios.
            double machine = 1 + (0.03 * (random.NextDouble() - 0.5));
            foreach (var method in Methods.Where(m => m.Facts.Available))
            {
                for (int l = 0; l < Loads.Length; l++)
                    yield return MakeRun(method, l, round, machine * (1 + (0.05 * (random.NextDouble() - 0.5))));
            }
        }
    }

    private static MeasuredRun MakeRun((MethodFacts Facts, double Share, double TargetCpu, double LoadCpu, double Switches) method, int load, int round, double luck)
    {
        // Deep queues and large blocks hide some of the cost of a method.
        double share = Math.Pow(method.Share, load >= 4 ? 0.45 : load % 2 == 0 ? 0.8 : 1.0);
        double iops = BareIops[load] * share * luck;
        double mean = Loads[load].Depth * 4 / iops * 1e9;
        double cpuScale = load >= 4 ? 9 : 1;
        return new MeasuredRun
        {
            Method = method.Facts.Id,
            Workload = Loads[load].Name,
            Round = round,
            Seconds = 5,
            Iops = Math.Round(iops),
            BytesPerSecond = Math.Round(iops) * Loads[load].Block,
            Latency = new LatencyNs
            {
                Mean = Math.Round(mean), P50 = Math.Round(mean * 0.9), P90 = Math.Round(mean * 1.4), P99 = Math.Round(mean * 2.2), P999 = Math.Round(mean * 4.5 / share), P9999 = Math.Round(mean * 11 / share),
            },
            TargetCpuUsPerRequest = method.TargetCpu > 0 ? Math.Round(method.TargetCpu * cpuScale / luck, 3) : null,
            LoadCpuUsPerRequest = Math.Round(method.LoadCpu * cpuScale / luck, 3),
            ContextSwitchesPerRequest = Math.Round(method.Switches * luck, 3),
            LoadContextSwitchesPerRequest = Math.Round(method.Switches * luck * 0.8, 3),
            OtherLoadPercent = round == 1 && load == 2 && method.Facts.Id == "vduse@host" ? 27 : 1.4,
            NotificationsPerRequest = Loads[load].Depth == 1 ? 1.0 : 0.12,
            StealPercent = 0.1,
        };
    }

    private static IEnumerable<EfficiencyRow> MakeEfficiency()
    {
        (AccessPattern Pattern, string Workload, double Read, double Write, double Measured)[] patterns =
        [
            (AccessPattern.RandomRead, "4k-randread-qd32", 196_000, 0, 720_000),
            (AccessPattern.RandomWrite, "4k-randwrite-qd32", 196_000, 151_000, 168_000),
            (AccessPattern.SequentialRead, "1024k-read-qd32", 2.9e9, 0, 9.86e9),
            (AccessPattern.SequentialWrite, "1024k-write-qd32", 0, 1.6e9, 4.09e9),
        ];
        foreach (var p in patterns)
        {
            (double theoretical, string formula) = RaidTheory.Theoretical(p.Pattern, "raid5", 4, p.Read, p.Write);
            yield return new EfficiencyRow
            {
                Pattern = p.Pattern, Workload = p.Workload, Level = "raid5", Members = 4, SingleDrive = p.Pattern is AccessPattern.RandomRead or AccessPattern.SequentialRead ? p.Read : p.Write,
                Theoretical = theoretical, Formula = formula, Array = p.Measured,
            };
        }

        (double simulated, string simulatedFormula) = RaidTheory.Theoretical(AccessPattern.RandomRead, "raid5", 24, 100_000, 0);
        yield return new EfficiencyRow
        {
            Pattern = AccessPattern.RandomRead, Workload = "4k-randread-qd32", Level = "raid5", Members = 24, Simulated = true, SingleDrive = 100_000, Theoretical = simulated, Formula = simulatedFormula, Array = 2_210_000,
        };
    }
}
