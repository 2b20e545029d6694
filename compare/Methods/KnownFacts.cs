// What is known of the ways to deliver a volume without running them: whom they reach, what they can do, what they need. The
// sources are the pages of docs/frontends and their tests; a feature that has no test is absent, not promised. What a kernel's
// version decides (ublk's resize, from Linux 6.16 on) is the probe's answer for the kernel that is measured on.
//
// Of peers it is what their own documentation says: losetup(8) and the loop driver; md(4) and mdadm(8); qemu-storage-daemon(1)
// and QEMU's QMP reference (block_resize, block-export-add).

using Polyblk.Compare.Results;

namespace Polyblk.Compare.Methods;

/// <summary>Makes <see cref="MethodFacts"/>.</summary>
public static class KnownFacts
{
    private const string InPlace = "none: the consumer's memory is read and written in place; parity is computed from one pass over it";

    /// <summary>Facts of a frontend of this program.</summary>
    /// <param name="frontend">Its name on the command line.</param>
    /// <param name="variant">What distinguishes it from its other variants, for the id: <c>2q</c>; empty where there is
    /// one.</param>
    /// <param name="title">What it is called.</param>
    /// <param name="vantage">Where the load runs.</param>
    /// <param name="backing">What it serves.</param>
    /// <param name="isMultiQueue">Whether this variant has several queues; null where that was not tried.</param>
    public static MethodFacts Frontend(
        string frontend, string variant, string title, Vantage vantage, Backing backing = Backing.Volume, bool? isMultiQueue = null) =>
        Make(frontend, variant, title, frontend, MethodRole.Frontend, vantage, backing) with
        {
            Reaches = Reach(frontend, vantage),
            CopyMode = CopyMode(frontend, vantage),
            Features = Features(frontend) with { MultiQueue = isMultiQueue },
            Needs = Needs(frontend, vantage),
        };

    /// <summary>Facts of another program that does the same.</summary>
    public static MethodFacts Peer(string program, string variant, string title, Vantage vantage, Backing backing, MethodNeeds needs) =>
        Make(program, variant, title, program, MethodRole.Peer, vantage, backing) with { Needs = needs };

    /// <summary>The features of a method of ublk on this kernel.</summary>
    /// <param name="facts">Its facts.</param>
    /// <param name="probed">What the frontend's probe found in the kernel's driver; null or empty where there is none.</param>
    public static MethodFacts OnKernel(this MethodFacts facts, IReadOnlyDictionary<string, string>? probed)
    {
        ArgumentNullException.ThrowIfNull(facts);
        bool? resize = probed?.GetValueOrDefault("resize") switch { "yes" => true, "no" => false, _ => null };
        return facts with { Features = facts.Features with { Resize = resize } };
    }

    /// <summary>What a peer can do, by its documentation.</summary>
    /// <param name="peer">Which: loop, mdadm, or an export of qemu-storage-daemon by its driver.</param>
    public static MethodFeatures PeerFeatures(string peer) => peer switch
    {
        "loop" => new MethodFeatures { Discard = true, Flush = true, Resize = true, MultiQueue = false, ReadOnly = true, LiveMigration = false },
        "mdadm" => new MethodFeatures { Flush = true, Resize = true, ReadOnly = true, LiveMigration = false },
        "vhost-user-blk" => new MethodFeatures { Discard = true, Flush = true, Resize = true, MultiQueue = true, ReadOnly = true },
        "vduse-blk" => new MethodFeatures { Discard = true, Flush = true, Resize = true, MultiQueue = true, ReadOnly = true, LiveMigration = false },
        "nbd" => new MethodFeatures { Discard = true, Flush = true, Resize = false, ReadOnly = true },
        _ => new MethodFeatures(),
    };

    /// <summary>Facts of a drive or an array without a frontend.</summary>
    public static MethodFacts Bare(string id, string title, Backing backing) =>
        Make(id, string.Empty, title, "polyblk", MethodRole.Bare, Vantage.Host, backing);

    private static MethodFacts Make(string name, string variant, string title, string frontend, MethodRole role, Vantage vantage, Backing backing) => new()
    {
        Id = $"{name}{(variant.Length == 0 ? string.Empty : $"-{variant}")}@{(vantage == Vantage.Guest ? "guest" : "host")}",
        Title = title,
        Frontend = frontend,
        Role = role,
        Vantage = vantage,
        Backing = backing,
        Available = true,
    };

    /// <summary>What one can do with what this method delivers: a socket for QEMU does nothing for a container.</summary>
    private static Consumer[] Reach(string frontend, Vantage vantage) => (frontend, vantage) switch
    {
        ("vhost-user" or "virtio-iothread" or "nbd", _) or (_, Vantage.Guest) => [Consumer.Vm],
        _ => [Consumer.Container],
    };

    private static string? CopyMode(string frontend, Vantage vantage) => (frontend, vantage) switch
    {
        ("vhost-user", _) or ("vduse", Vantage.Guest) => InPlace,
        ("vduse", _) => "the kernel copies through bounce pages",
        ("nbd" or "virtio-iothread", _) => "through a socket: every byte is copied twice",
        _ => null,
    };

    private static MethodFeatures Features(string frontend) => frontend switch
    {
        "vhost-user" => new MethodFeatures { Discard = true, Flush = true, Resize = true, ReadOnly = true, LiveMigration = true },
        "vduse" => new MethodFeatures { Discard = true, Flush = true, Resize = true, ReadOnly = true, LiveMigration = false },
        "nbd" => new MethodFeatures { Discard = true, Flush = true, Resize = false, ReadOnly = true },
        "ublk" => new MethodFeatures { Discard = true, Flush = true, ReadOnly = true, LiveMigration = false }, // resize: OnKernel
        _ => new MethodFeatures { Discard = true, Flush = true, ReadOnly = true },
    };

    private static MethodNeeds Needs(string frontend, Vantage vantage) => frontend switch
    {
        "vhost-user" => new MethodNeeds { SharedMemory = true, Programs = ["QEMU"] },
        "vduse" => new MethodNeeds
        {
            KernelModules = ["vduse", vantage == Vantage.Guest ? "vhost_vdpa" : "virtio_vdpa"],
            Privileges = ["root"],
            SharedMemory = vantage == Vantage.Guest,
            Programs = ["vdpa"],
        },
        "ublk" => new MethodNeeds { KernelModules = ["ublk_drv"], Privileges = ["root, or an unprivileged device"] },
        "virtio-iothread" => new MethodNeeds { Programs = ["QEMU from 9.0 on"] },
        _ => new MethodNeeds(),
    };
}
