// The text of a declaration: what is wrong with it is told with its place, and nothing in it can do harm.

using System.Text;
using Microsoft.Extensions.DependencyInjection;
using Polyblk.Frontends;
using Polyblk.Host;
using Polyblk.Host.Declared;

namespace Polyblk.Cli.Tests;

public sealed class DeclarationTests : IDisposable
{
    private const string Example = """
        # comment
        volumes:
          data:
            level: RAID5
            chunk: 128KiB
            drives:
              - /dev/sdb
              - "file:/tmp/a,size=1GiB"
              - /dev/sdd
            check-every: off
            exports:
              - frontend: vhost-user
                queues: 4
                serial: 0815
              - {frontend: nbd, read-only: true}
        """;

    private readonly ServiceProvider _services = Composition.Build();

    public void Dispose() => _services.Dispose();

    [Fact]
    public void WhatItSaysIsRead()
    {
        DeclaredVolume volume = Assert.Single(Read(Example).Volumes);
        Assert.Equal(("data", "raid5", 128L << 10, 0L), (volume.Name, volume.Level, volume.ChunkBytes, volume.CheckEverySeconds));
        Assert.Equal(["/dev/sdb", "file:/tmp/a,size=1GiB", "/dev/sdd"], volume.Drives);
        Assert.Equal([("vhost-user", 4, false, "0815"), ("nbd", null, true, null)],
            volume.Exports!.Select(e => (e.Wanted.Frontend, e.Wanted.Queues, e.Wanted.ReadOnly, e.Wanted.Serial)));
        Assert.Null(volume.Spares);
        Assert.Null(volume.Autostart);
    }

    [Theory]
    [InlineData("", "f.yaml says nothing")]
    [InlineData("# nothing", "f.yaml says nothing")]
    [InlineData("hello", "f.yaml:1:1: takes keys and values, not 'hello'.")]
    [InlineData("volumes: 7", "f.yaml:1:10: volumes: takes keys and values, not '7'.")]
    [InlineData("volume: {}", "f.yaml:1:1: there is no key 'volume'. Did you mean 'volumes'?")]
    [InlineData("volumes: {../x: {}}", "f.yaml:1:11: volumes: '../x' cannot be a volume's name.")]
    [InlineData("volumes: {a: {levl: raid1}}", "f.yaml:1:15: volumes.a: there is no key 'levl'. Did you mean 'level'?")]
    [InlineData("volumes: {a: {level: raid15}}", "f.yaml:1:22: volumes.a.level: 'raid15' is no level. Did you mean 'raid1'?")]
    [InlineData("volumes: {a: {level: [raid1]}}", "f.yaml:1:22: volumes.a.level: takes a word, not a list.")]
    [InlineData("volumes: {a: {level: }}", "f.yaml:1:22: volumes.a.level: takes a word, not nothing.")]
    [InlineData(
        "volumes: {a: {chunk: big}}", "f.yaml:1:22: volumes.a.chunk: takes a size with a unit, such as 64KiB, not 'big'.")]
    [InlineData("volumes: {a: {drives: /dev/sdb}}", "f.yaml:1:23: volumes.a.drives: takes a list, not '/dev/sdb'.")]
    [InlineData("volumes: {a: {drives: [sdb]}}", "f.yaml:1:24: volumes.a.drives[0]: 'sdb' is relative: write the whole path.")]
    [InlineData("volumes: {a: {autostart: yes}}", "f.yaml:1:26: volumes.a.autostart: takes true or false, not 'yes'.")]
    [InlineData("volumes: {a: {autostart: 'true'}}", "f.yaml:1:26: volumes.a.autostart: takes true or false, not 'true'.")]
    [InlineData(
        "volumes: {a: {rebuild-rate: -1}}", "takes bytes a second with a unit, such as 100M, or 0 for no bound, not '-1'.")]
    [InlineData("volumes: {a: {check-every: 1s}}", "takes days or hours, such as 30d or 12h, or off, not '1s'.")]
    [InlineData("volumes: {a: {slow-read: 0}}", "takes seconds from 1 to 60, not '0'.")]
    [InlineData("volumes: {a: {drive-timeout: 1h}}", "takes seconds from 0 to 3600, not '1h'.")]
    [InlineData("volumes: {a: {consistency: maybe}}", "takes journal, bitmap or none, not 'maybe'.")]
    [InlineData("volumes: {a: {exports: [{}]}}", "f.yaml:1:25: volumes.a.exports[0]: needs a 'frontend': vhost-user, vduse,")]
    [InlineData("volumes: {a: {exports: [{frontend: nbt}]}}",
        "volumes.a.exports[0].frontend: there is no frontend 'nbt'. Did you mean 'nbd'?")]
    [InlineData("volumes: {a: {exports: [{frontend: nbd, queues: 257}]}}", "volumes.a.exports[0]: Queues are from 1 to 256.")]
    [InlineData("volumes: {a: {exports: [{frontend: nbd, queues: '2'}]}}", "not '2' in quotes.")]
    [InlineData("volumes: {a: {exports: [{frontend: nbd, mode: x}]}}", "volumes.a.exports[0]: there is no key 'mode'.")]
    [InlineData("volumes: {a: {exports: [{frontend: nbd, socket: s}]}}", "The path of a socket is absolute")]
    [InlineData("volumes: {a: {exports: [{frontend: nbd, socket-group: no-such-group}]}}", "There is no group 'no-such-group'")]
    [InlineData("volumes: {a: {}, a: {}}", "f.yaml:1:18: 'a' stands twice: first in line 1.")]
    [InlineData("volumes: {a: &x {}, b: *x}", "f.yaml:1:14: anchors (&) are not taken")]
    [InlineData("volumes: {a: *x}", "f.yaml:1:14: aliases (*) are not taken")]
    [InlineData("volumes: {a: !!set {}}", "f.yaml:1:14: tags (!) are not taken.")]
    [InlineData("volumes: {? [a] : {}}", "a key is one word.")]
    [InlineData("volumes: {}\n---\nvolumes: {}", "f.yaml:2:1: a second document begins here")]
    [InlineData("volumes: {a: {", "f.yaml:2:1: this is no YAML")]
    [InlineData("volumes: [[[[[[[[[[[[[[[[[[[[", "f.yaml:1:25: more than 16 levels are in each other.")]
    [InlineData("volumes:\n\tdata: {}", "f.yaml:1:1: this is no YAML")]
    public void WhatIsWrongIsToldWithItsPlace(string text, string message)
    {
        RefusalException e = Assert.Throws<RefusalException>(() => Read(text));
        Assert.Equal(RefusalKind.Invalid, e.Kind);
        Assert.Contains(message, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void EverythingThatIsWrongIsToldAtOnce()
    {
        RefusalException e = Assert.Throws<RefusalException>(() => Read("volumes:\n  a: {levl: 1}\n  b: {chunk: x}\n"));
        Assert.Equal(["f.yaml:2:7", "f.yaml:3:14"], e.Message.Split('\n').Select(l => string.Join(':', l.Split(':').Take(3))));
    }

    [Fact]
    public void WhatIsTooLongOrNoTextIsRefused()
    {
        Assert.Contains("more than 1024 KiB", Assert.Throws<RefusalException>(() => Read(new string('#', (1 << 20) + 1))).Message,
            StringComparison.Ordinal);
        Assert.Contains("no text in UTF-8", Assert.Throws<RefusalException>(() => Read([0xFF, 0xFE, 0x41])).Message,
            StringComparison.Ordinal);
    }

    /// <summary>Cut, doubled and changed anywhere, the example is read or refused: nothing else happens.</summary>
    [Fact]
    public void AnyTextIsReadOrRefused()
    {
        var random = new Random(20_261);
        const string Odd = "{}[],:&*!|>'\"%@`#-? \n\t\r\0\u0085\u2028é0~<=";
        for (int round = 0; round < 4000; round++)
        {
            var text = new StringBuilder(Example);
            for (int change = random.Next(1, 6); change > 0 && text.Length > 0; change--)
            {
                int at = random.Next(text.Length);
                _ = random.Next(4) switch
                {
                    0 => text.Remove(at, random.Next(1, Math.Min(20, text.Length - at) + 1)),
                    1 => text.Insert(at, Odd[random.Next(Odd.Length)]),
                    2 => text.Insert(at, text.ToString(at, Math.Min(random.Next(40), text.Length - at))),
                    _ => text.Replace(text[at], Odd[random.Next(Odd.Length)], at, 1),
                };
            }

            try
            {
                _ = Read(text.ToString());
            }
            catch (RefusalException)
            {
                // Refused.
            }
        }
    }

    private Declaration Read(string text) => Read(Encoding.UTF8.GetBytes(text));

    private Declaration Read(byte[] content) =>
        DeclarationReader.Read("f.yaml", new MemoryStream(content), [.. _services.GetServices<IFrontend>()]);
}
