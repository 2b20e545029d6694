using System.CommandLine;
using Microsoft.Extensions.DependencyInjection;
using Moq;
using Polyblk.Cli.CommandLine;
using Polyblk.Frontends;
using Polyblk.Host;
using Polyblk.Host.Serving;

namespace Polyblk.Cli.Tests;

public class FrontendGroupParserTests
{
    private static readonly IFrontend[] s_frontends =
    [
        Fake("alpha", new FrontendOption("mode", "M", "A mode.", ["fast", "safe"]), new FrontendOption("loud", null, "A switch.", [])),
        Fake("beta"),
    ];

    [Fact]
    public void OptionsBelongToTheFrontendBeforeThem()
    {
        IReadOnlyList<FrontendGroup> groups = Parse(
            "serve v --frontend alpha --queues 4 --mode=safe --loud --frontend beta --queues 2 --read-only --serial S1 --reactors 0 --socket /x/y");
        Assert.Collection(
            groups,
            a =>
            {
                Assert.Equal("alpha", a.Frontend);
                Assert.Equal(4, a.Queues);
                Assert.False(a.ReadOnly);
                Assert.Null(a.Serial);
                Assert.Null(a.SocketPath);
                Assert.Equal(new Dictionary<string, string> { ["mode"] = "safe", ["loud"] = "true" }, a.Options);
            },
            b =>
            {
                Assert.Equal("beta", b.Frontend);
                Assert.Equal(2, b.Queues);
                Assert.True(b.ReadOnly);
                Assert.Equal("S1", b.Serial);
                Assert.Equal("/x/y", b.SocketPath);
                Assert.Empty(b.Options);
            });
    }

    [Fact]
    public void WithOneFrontendItsOptionsMayComeFirst()
    {
        FrontendGroup group = Assert.Single(Parse("serve v --read-only --queue-size 128 --frontend beta"));
        Assert.True(group.ReadOnly);
        Assert.Equal(128, group.QueueSize);
    }

    [Fact]
    public void ASocketIsGivenToAGroupByNameOrNumberAndHasAMode()
    {
        IReadOnlyList<FrontendGroup> groups = Parse(
            "serve v --frontend alpha --socket-group daemon --frontend beta --socket-group 4321 --socket-mode 0666 --frontend beta --socket-mode 600 --frontend beta");
        Assert.Equal(
            [new SocketAccess("daemon", 1, null), new SocketAccess("4321", 4321, (UnixFileMode)0x1B6), new SocketAccess(null, null, (UnixFileMode)0x180), null],
            groups.Select(g => g.SocketAccess));
    }

    [Theory]
    [InlineData("serve v --frontend alpha --socket-group no-such-group", "There is no group 'no-such-group'")]
    [InlineData("serve v --frontend alpha --socket-mode 880", "--socket-mode takes a mode in octal")]
    [InlineData("serve v --frontend alpha --socket-mode 066", "--socket-mode takes a mode in octal")]
    [InlineData("serve v --frontend alpha --socket-mode 4660", "--socket-mode takes a mode in octal")]
    [InlineData("serve v --frontend alpha --socket-mode u=rw", "--socket-mode takes a mode in octal")]
    [InlineData("serve v", "--frontend followed by alpha or beta")]
    [InlineData("serve v --frontend bta", "Did you mean 'beta'?")]
    [InlineData("serve v --queues 2 --frontend alpha --frontend beta", "--queues belongs to a frontend")]
    [InlineData("serve v --frontend alpha --queues 2 --queues 3", "--queues is given twice")]
    [InlineData("serve v --frontend alpha --queues 257", "1 to 256")]
    [InlineData("serve v --frontend alpha --queues x", "1 to 256")]
    [InlineData("serve v --frontend alpha --queue-size 100", "power of two")]
    [InlineData("serve v --frontend alpha --serial 123456789012345678901", "1 to 20")]
    [InlineData("serve v --frontend alpha --mode slow", "fast, safe")]
    [InlineData("serve v --frontend beta --mode fast", "no option of the frontend beta")]
    public void MistakesAreNamed(string line, string expected)
    {
        RefusalException e = Assert.Throws<RefusalException>(() => Parse(line));
        Assert.Equal(RefusalKind.Invalid, e.Kind);
        Assert.Contains(expected, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AnOptionCannotBeASwitchForOneFrontendAndAValueForAnother()
    {
        IFrontend[] clash = [Fake("a", new FrontendOption("x", null, "Switch.", [])), Fake("b", new FrontendOption("x", "N", "Number.", []))];
        Assert.Throws<InvalidOperationException>(() => new FrontendGroupParser(clash));
    }

    [Fact]
    public void TheFrontendsOfTheProgramFitTogether()
    {
        using ServiceProvider services = Composition.Build();
        IFrontend[] frontends = [.. services.GetServices<IFrontend>()];
        _ = new FrontendGroupParser(frontends);
        Assert.Equal(frontends.Length, frontends.Select(f => f.Name).Distinct().Count());
        Assert.Contains(frontends, f => f.Name == "vhost-user");
        Assert.All(frontends, f => Assert.DoesNotContain(f.Options, o => FrontendGroupParser.Common.Any(c => c.Name == o.Name)));
        Assert.Same(frontends[0], services.GetRequiredService<IFrontendCatalog>().Find(frontends[0].Name));
    }

    private static IReadOnlyList<FrontendGroup> Parse(string line)
    {
        var root = new RootCommand();
        root.Subcommands.Add(new ServeCommand(s_frontends).Build());
        ParseResult parsed = root.Parse(line.Split(' '));
        Assert.Empty(parsed.Errors);
        return new FrontendGroupParser(s_frontends).Parse(parsed.Tokens);
    }

    private static IFrontend Fake(string name, params FrontendOption[] options)
    {
        var frontend = new Mock<IFrontend>();
        frontend.SetupGet(f => f.Name).Returns(name);
        frontend.SetupGet(f => f.Description).Returns("A frontend.");
        frontend.SetupGet(f => f.Options).Returns(options);
        return frontend.Object;
    }
}
