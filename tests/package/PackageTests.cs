// What eng/package puts into the package, made of what is built.

using System.Text.RegularExpressions;

namespace Polyblk.Package.Tests;

/// <summary>The package, made once and unpacked.</summary>
public sealed class MadePackage : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("polyblk-deb-").FullName;

    public MadePackage()
    {
        Path = Make("one");
        Shell.Run("dpkg-deb", "-x", Path, Root);
        Shell.Run("dpkg-deb", "-e", Path, Control);
    }

    public string Path { get; }

    public string Root => System.IO.Path.Combine(_folder, "root");

    public string Control => System.IO.Path.Combine(_folder, "control");

    /// <summary>Makes one more, in a folder of that name.</summary>
    public string Make(string name)
    {
        string folder = System.IO.Path.Combine(_folder, name);
        return Shell.Run(Shell.Source("eng", "package"), "--built", "--compression", "none", "--out", folder).Trim();
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);
}

public sealed partial class PackageTests(MadePackage package) : IClassFixture<MadePackage>
{
    [Fact]
    public void It_is_the_same_whoever_makes_it_again()
    {
        string again = package.Make("two");
        Assert.Equal(File.ReadAllBytes(package.Path), File.ReadAllBytes(again));
    }

    [Fact]
    public void Everything_is_roots_and_nothing_is_others_to_write()
    {
        string[] entries = Shell.Run("dpkg-deb", "-c", package.Path).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.NotEmpty(entries);
        Assert.All(entries, e => Assert.Matches("^(lrwxrwxrwx|[d-]rw[x-]r-[x-]r-[x-]) root/root ", e));
    }

    [Fact]
    public void It_says_what_it_is_and_what_it_needs()
    {
        string control = Shell.Run("dpkg-deb", "-f", package.Path);
        string version = VersionOfSources().Match(File.ReadAllText(Shell.Source("Directory.Build.props"))).Groups[1].Value;
        Assert.Contains($"\nVersion: {version}\n", control, StringComparison.Ordinal);
        Assert.Contains("\nArchitecture: amd64\n", control, StringComparison.Ordinal);
        Assert.Contains($"polyblk_{version}_amd64.deb", package.Path, StringComparison.Ordinal);
        string libc = Regex.Match(control, @"libc6 \(>= 2\.(\d+)\)").Groups[1].Value;
        Assert.InRange(int.Parse(libc, null), 30, 41);
        Assert.Equal("/etc/default/polyblk\n/etc/needrestart/conf.d/polyblk.conf\n", File.ReadAllText(Path.Combine(package.Control, "conffiles")));
        Assert.True(Directory.Exists(Path.Combine(package.Root, "etc/polyblk/hooks.d")));
        Shell.Run("sh", "-ec", "cd \"$1\" && md5sum --quiet -c \"$2/md5sums\"", "sh", package.Root, package.Control);
        Assert.All(Directory.GetFiles(package.Control, "p*"), script => Shell.Run("sh", "-n", script));
    }

    [Theory]
    [InlineData("usr/bin/polyblk")]
    [InlineData("usr/lib/polyblk/instruction-set")]
    [InlineData("usr/lib/polyblk/machine/prepare")]
    [InlineData("usr/lib/systemd/system/polyblk.service")]
    [InlineData("usr/lib/sysusers.d/polyblk.conf")]
    [InlineData("usr/lib/tmpfiles.d/polyblk.conf")]
    [InlineData("etc/default/polyblk")]
    [InlineData("usr/share/bash-completion/completions/polyblk")]
    [InlineData("usr/share/zsh/vendor-completions/_polyblk")]
    [InlineData("usr/share/fish/vendor_completions.d/polyblk.fish")]
    [InlineData("usr/share/doc/polyblk/copyright")]
    [InlineData("usr/share/doc/polyblk/changelog.gz")]
    [InlineData("usr/share/doc/polyblk/security.md")]
    [InlineData("usr/share/doc/polyblk/frontends/vhost-user.md")]
    [InlineData("usr/share/doc/polyblk/examples/as-root.conf")]
    [InlineData("usr/share/doc/polyblk/examples/metrics.conf")]
    public void It_has(string file) => Assert.True(File.Exists(Path.Combine(package.Root, file)), file);

    /// <summary>Each program is for the level of its folder, has its scripts beside it, and is the one that was built.</summary>
    [Fact]
    public void It_has_the_programs()
    {
        string[] levels = Directory.GetDirectories(Path.Combine(package.Root, "usr/lib/polyblk"), "x86-64-v*");
        Assert.NotEmpty(levels);
        foreach (string level in levels)
        {
            string name = Path.GetFileName(level);
            byte[] built = File.ReadAllBytes(Shell.Source("artifacts", "native", name, "polyblk"));
            Assert.Equal(built, File.ReadAllBytes(Path.Combine(level, "polyblk")));
            Assert.True(File.Exists(Path.Combine(level, "machine", "lib.sh")));
        }

        string here = Path.GetFileName(Polyblk.Tests.PolyblkCommand.Folder);
        string own = Path.Combine(package.Root, "usr/lib/polyblk", here, "polyblk");
        Assert.Contains($"native, for {here},", Shell.Run(own, "--version", "--verbose"), StringComparison.Ordinal);
    }

    /// <summary>Every command has a page, and each option of its help stands in it.</summary>
    [Fact]
    public void The_manual_has_what_the_help_has()
    {
        string folder = Path.Combine(package.Root, "usr/share/man/man1");
        string[] pages = [.. Directory.GetFiles(folder).Select(Path.GetFileName).OfType<string>().Order(StringComparer.Ordinal)];
        var expected = new List<string>();
        AddPages([], folder, expected);
        Assert.Equal(expected.Order(StringComparer.Ordinal), pages);
        Assert.InRange(pages.Length, 20, 100);
    }

    private static void AddPages(string[] path, string folder, List<string> pages)
    {
        string name = string.Join('-', (string[])["polyblk", .. path]) + ".1.gz";
        pages.Add(name);
        string help = Shell.Run(Shell.Program, [.. path, "--help"]);
        string page = Shell.Run("gzip", "-dc", Path.Combine(folder, name));
        Assert.StartsWith(".TH ", page, StringComparison.Ordinal);
        Assert.Contains("\n.SH NAME\n", page, StringComparison.Ordinal);
        Assert.All(OptionsOfHelp().Matches(Part(help, "Options:")), option =>
        {
            string word = option.Groups[1].Value.Replace("-", @"\-", StringComparison.Ordinal);
            Assert.Contains($@"\fB{word}\fR", page, StringComparison.Ordinal);
        });
        foreach (Match command in CommandsOfHelp().Matches(Part(help, "Commands:")))
        {
            AddPages([.. path, command.Groups[1].Value], folder, pages);
        }
    }

    /// <summary>The lines of the help below a title.</summary>
    private static string Part(string help, string title)
    {
        int at = help.IndexOf("\n" + title, StringComparison.Ordinal);
        return at < 0 ? string.Empty : help[(at + title.Length + 1)..].Split("\n\n")[0];
    }

    [GeneratedRegex("<Version>(.*)</Version>")]
    private static partial Regex VersionOfSources();

    [GeneratedRegex(@"^\s+(?:-\w, )?(?:-\?, -h, )?(--[a-z-]+)", RegexOptions.Multiline)]
    private static partial Regex OptionsOfHelp();

    [GeneratedRegex(@"^  ([a-z][a-z-]*)", RegexOptions.Multiline)]
    private static partial Regex CommandsOfHelp();
}
