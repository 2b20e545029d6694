using Moq;
using Polyblk.Cli.CommandLine;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Results;
using Polyblk.Frontends;

namespace Polyblk.Cli.Tests;

/// <summary>Frontends that no method of a comparison is of have rows that say what would give them figures.</summary>
public class CompareUnmeasuredTests
{
    [Theory]
    [InlineData("virtio-iothread", true, Vantage.Host, false, "QEMU's own disk is seen only from inside a VM", "polyblk compare --vantage host,guest")]
    [InlineData("virtio-iothread", true, Vantage.Host, true, "QEMU's own disk is seen only from inside a VM", "polyblk compare --inside-guest --vantage host,guest")]
    [InlineData("virtio-iothread", true, Vantage.Guest, false, "it was not asked for", "polyblk compare --vantage host,guest")]
    [InlineData("vduse", true, Vantage.Host, false, "it was not asked for", "polyblk compare --methods vduse")]
    [InlineData("virtio-iothread", false, Vantage.Host, false, "no QEMU", "apt-get install it")]
    public void ReasonAndRemedy(string name, bool available, Vantage vantage, bool isInside, string reason, string remedy)
    {
        IFrontend frontend = Mock.Of<IFrontend>(f => f.Name == name && f.Probe() == new FrontendProbe(available, "no QEMU", new[] { "apt-get install it" }, new Dictionary<string, string>()));
        IDeliveryMethod other = Mock.Of<IDeliveryMethod>(m => m.Facts == KnownFacts.Frontend("nbd", string.Empty, "nbd", vantage, Backing.Volume, null));
        MethodFacts row = Assert.Single(CompareReport.Unmeasured([frontend], [other], isInside));
        Assert.Equal((false, reason, remedy), (row.Available, row.Reason, Assert.Single(row.Remedies)));
    }

    /// <summary>What a kernel has and files in memory cannot use, whether fio is installed or not.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void ZeroCopyNeedsAPlaceThatIsNotMemory(bool isInMemory)
    {
        var probe = new FrontendProbe(true, string.Empty, [], new Dictionary<string, string> { ["copy modes"] = "copy, user-copy, zero-copy" });
        IFrontend ublk = Mock.Of<IFrontend>(f => f.Name == "ublk" && f.Probe() == probe);
        var methods = new CompareMethods([ublk], new PolyblkProgram(["polyblk"], _ => throw new InvalidOperationException()), "raid5", 2);
        MethodAvailability availability = methods.Host(isInMemory).Single(m => m.Facts.Id == "ublk-zero-copy@host").Check();
        MethodAvailability expected = isInMemory
            ? new MethodAvailability(false, "files in memory are always copied", ["polyblk compare --dir DIR, on a disk"])
            : MethodAvailability.OfFio();
        Assert.Equal((expected.CanRun, expected.Reason), (availability.CanRun, availability.Reason));
        Assert.Equal(expected.Remedies, availability.Remedies);
    }
}
