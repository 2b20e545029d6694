using System.CommandLine;
using Polyblk.Compare.Guest;
using Polyblk.Compare.Results;
using Polyblk.Host;
using Polyblk.Machine;

namespace Polyblk.Cli.CommandLine;

/// <summary>The options of <c>polyblk compare</c> that are about virtual machines, and what they say.</summary>
internal sealed class CompareGuestOptions
{
    /// <summary>Says the progress in lines on standard output; for a comparison that another one started.</summary>
    public const string ProgressLinesName = "--progress-lines";

    private const int LeastMemoryMib = 1024;

    private readonly Option<bool> _progressLines = new(ProgressLinesName) { Hidden = true };

    private readonly Option<string> _vantage = new("--vantage")
    {
        HelpName = "host|guest|host,guest",
        Description = "Where the load runs: on this host, in a virtual machine that has the volume attached by each method, or both.",
        DefaultValueFactory = _ => "host",
    };

    private readonly Option<bool> _inside = new("--inside-guest")
    {
        Description = "Run all of it in a virtual machine whose kernel has every method; results and report come back to --out.",
    };

    private readonly Option<string> _linux = new("--guest-linux")
    {
        HelpName = "7.3|6.12", Description = "Kernel of the virtual machine, from Debian's packages.", DefaultValueFactory = _ => "7.3",
    };

    private readonly Option<string?> _kernel = new("--guest-kernel") { HelpName = "FILE", Description = "A kernel of your own instead; with --guest-initrd." };
    private readonly Option<string?> _initrd = new("--guest-initrd")
    {
        HelpName = "FILE", Description = "Its initramfs with the modules, uncompressed ones; what polyblk needs is added.",
    };

    private readonly Option<string?> _image = new("--guest-image")
    {
        HelpName = "FILE", Description = "A disk image of your own instead, with cloud-init and sshd, such as a distribution's cloud image; with --vantage guest. It is not written.",
    };

    private readonly Option<long?> _memory = CommandSettings.Size("--guest-memory", "Memory of the virtual machine. [default: 6GiB with --inside-guest, else 1GiB]");
    private readonly Option<int?> _cpus = new("--guest-cpus") { HelpName = "N", Description = "Its processors, 1 to 16. [default: 4 with --inside-guest and another machine in it, else 2]" };

    private readonly Option<string?> _ssh = new("--guest-ssh")
    {
        HelpName = "USER@HOST", Description = "Measure also in this running virtual machine, by ssh; with --guest-disk.",
    };

    private readonly Option<string[]> _disks = new("--guest-disk")
    {
        HelpName = "NAME=DEVICE",
        Description = "A disk of that machine and how it is attached, such as vhost-user=/dev/vdb. All its data is overwritten. May be given several times.",
        Arity = ArgumentArity.ZeroOrMore,
    };

    /// <summary>Those about the machine itself, without the one that says what a comparison in it does too.</summary>
    public IReadOnlyList<Option> OfTheMachine => [.. All.Except([_vantage])];

    /// <summary>All of them.</summary>
    public IReadOnlyList<Option> All => [_vantage, _inside, _linux, _kernel, _initrd, _image, _memory, _cpus, _ssh, _disks, _progressLines];

    /// <summary>Whether another program reads the progress.</summary>
    public bool HasProgressLines(ParseResult parsed) => parsed.GetValue(_progressLines);

    /// <summary>What was asked for.</summary>
    /// <exception cref="RefusalException">It is not possible; the message says what is.</exception>
    public CompareGuestRequest Read(ParseResult parsed)
    {
        string[] vantages = parsed.GetValue(_vantage)!.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        Check(vantages.Length > 0 && vantages.All(v => v is "host" or "guest"), "--vantage takes host, guest or host,guest.");
        bool isInside = parsed.GetValue(_inside);
        string linux = parsed.GetValue(_linux)!;
        Check(linux is "7.3" or "6.12", "--guest-linux takes 7.3 or 6.12.");
        (string? kernel, string? initrd) = (parsed.GetValue(_kernel), parsed.GetValue(_initrd));
        Check(kernel is null == initrd is null, "--guest-kernel and --guest-initrd belong together.");
        string? image = parsed.GetValue(_image);
        Check(image is null || (vantages.Contains("guest") && !isInside), "--guest-image is for --vantage guest, without --inside-guest.");
        Check(image is null || kernel is null, "--guest-image and --guest-kernel exclude each other: an image has a kernel of its own.");
        foreach (string file in new[] { kernel, initrd, image }.OfType<string>().Where(f => !File.Exists(f) && !Directory.Exists(f)))
        {
            throw RefusalException.NotFound($"There is no file {file}.");
        }

        Check(image is null || parsed.GetResult(_linux) is not { Implicit: false }, "--guest-image and --guest-linux exclude each other: an image has a kernel of its own.");
        long memoryMib = (parsed.GetValue(_memory) ?? DefaultMemory(isInside)) >> 20;
        Check(memoryMib >= LeastMemoryMib && memoryMib <= int.MaxValue, "--guest-memory takes 1GiB or more.");
        int cpus = parsed.GetValue(_cpus) ?? DefaultCpus(hasInner: isInside && vantages.Contains("guest"));
        Check(cpus is >= 1 and <= 16, "--guest-cpus takes a number from 1 to 16.");
        string[][] disks = [.. (parsed.GetValue(_disks) ?? []).Select(d => d.Split('=', 2))];
        Check(disks.All(d => d is [{ Length: > 0 }, ['/', ..]]), "--guest-disk takes NAME=DEVICE, such as vhost-user=/dev/vdb.");
        Check(disks.Select(d => d[0]).Distinct().Count() == disks.Length, "Each --guest-disk needs a name of its own.");
        string? ssh = parsed.GetValue(_ssh);
        Check(ssh is null == (disks.Length == 0), "--guest-ssh and --guest-disk belong together.");
        Check(ssh?.StartsWith('-') != true, "--guest-ssh takes a name or user@host.");
        return new CompareGuestRequest
        {
            SshDestination = ssh,
            SshDisks = [.. disks.Select(d => (d[0], d[1]))],
            Vantages = [.. vantages.Distinct().Select(v => v == "host" ? Vantage.Host : Vantage.Guest)],
            IsInside = isInside,
            Kernel = linux == "6.12" ? GuestKernel.Linux612 : GuestKernel.Linux73,
            OwnKernel = kernel,
            OwnInitramfs = initrd,
            Image = image is null ? null : Open(image),
            MemoryMib = (int)memoryMib,
            Cpus = cpus,
        };
    }

    /// <summary>
    /// Where everything runs inside, scratch files, simulated drives and perhaps another machine lie in it. What it does not
    /// touch costs the host nothing.
    /// </summary>
    private static long DefaultMemory(bool isInside) => isInside ? 6L << 30 : 1L << 30;

    /// <summary>
    /// A machine that holds another one has a processor for each of target and load, and two for the inner one; with two in all
    /// it is far slower.
    /// </summary>
    private static int DefaultCpus(bool hasInner) => hasInner ? 4 : 2;

    private static DiskImage Open(string path)
    {
        try
        {
            return DiskImage.Open(path);
        }
        catch (InvalidDataException e)
        {
            throw new RefusalException(RefusalKind.Invalid, e.Message, e);
        }
        catch (MachineException e)
        {
            throw new RefusalException(RefusalKind.HostLacks, e.Message, e);
        }
    }

    private static void Check(bool condition, string message)
    {
        if (!condition)
        {
            throw RefusalException.Invalid(message);
        }
    }
}

/// <summary>What <c>polyblk compare</c> shall do with virtual machines.</summary>
internal sealed record CompareGuestRequest
{
    /// <summary>No machine runs longer, whatever happens.</summary>
    private static readonly TimeSpan s_limit = TimeSpan.FromHours(12);

    /// <summary>Where loads run, in the order of the tables.</summary>
    public required IReadOnlyList<Vantage> Vantages { get; init; }

    /// <summary>Whether everything runs in a machine.</summary>
    public required bool IsInside { get; init; }

    public required GuestKernel Kernel { get; init; }

    /// <summary>A kernel of the user's own, or null.</summary>
    public required string? OwnKernel { get; init; }

    public required string? OwnInitramfs { get; init; }

    /// <summary>A disk image of the user's own, or null.</summary>
    public DiskImage? Image { get; init; }

    /// <summary>A running machine of the user's, or null.</summary>
    public string? SshDestination { get; init; }

    /// <summary>Its disks: how they are attached, and where.</summary>
    public IReadOnlyList<(string Name, string Device)> SshDisks { get; init; } = [];

    public required int MemoryMib { get; init; }

    public required int Cpus { get; init; }

    /// <summary>What the machine of the guest vantage boots.</summary>
    public IGuestSystem System => Image is not null ? new ImageSystem(Image, MemoryMib, Cpus, s_limit) : new PreparedSystem(() => Builder("compare-guest"));

    /// <summary>A machine of that kind, without disks and script.</summary>
    /// <exception cref="MachineException">Something for it is missing here.</exception>
    public GuestBuilder Builder(string name)
    {
        GuestBuilder builder = OwnKernel is string kernel ? new GuestBuilder(name, BootImage.Own(kernel, OwnInitramfs!)) : new GuestBuilder(name, Kernel);
        return builder.Memory(MemoryMib).Cpus(Cpus).Timeout(s_limit);
    }
}
