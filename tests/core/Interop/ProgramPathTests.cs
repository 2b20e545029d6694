using Polyblk.Core.Interop;

namespace Polyblk.Core.Tests.Interop;

public class ProgramPathTests
{
    [Fact]
    public void ANameIsFoundInTheSystemsFoldersWhateverPathSaysAndAPathIsTakenAsItIs()
    {
        Assert.True(File.Exists(ProgramPath.TryFind("sh")));

        // Administrators' programs are found without sbin on PATH.
        string admin = Directory.EnumerateFiles("/usr/sbin").First(f => !File.Exists($"/usr/bin/{Path.GetFileName(f)}"));
        Assert.Equal(Path.GetFileName(admin), Path.GetFileName(ProgramPath.TryFind(Path.GetFileName(admin))));
        Assert.Equal("/bin/sh", ProgramPath.TryFind("/bin/sh"));
        Assert.Null(ProgramPath.TryFind("/bin/no-such-program"));
        Assert.Null(ProgramPath.TryFind("no-such-program"));
        Assert.Throws<ArgumentException>(() => ProgramPath.TryFind(""));
    }
}
