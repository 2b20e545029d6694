// The container image that eng/image makes of the package: on a Debian of mmdebstrap's instead of one from a registry.

using System.Text.Json;

namespace Polyblk.Package.Tests;

public sealed class ImageTests(MadePackage package) : IClassFixture<MadePackage>, IDisposable
{
    /// <summary>The Debian of the guests' tests, as an image.</summary>
    private const string MakeBase = """
        cd "$1"
        mkdir root
        mount -o loop,ro "$("$2")" root
        made=$(buildah --root s --runroot r from scratch)
        buildah --root s --runroot r copy --quiet "$made" root /
        buildah --root s --runroot r commit --quiet "$made" "oci:$1/base:1"
        umount root
        rm -rf s r
        """;

    /// <summary>In a container of the image, as its user: a volume is made, served, written down, and stopped.</summary>
    private const string UseIt = """
        cd "$1"
        box=$(buildah --root s --runroot r from --quiet "oci:$1/image:$2")
        buildah --root s --runroot r run --isolation chroot "$box" -- sh -ec '
          id -un
          polyblk --version
          cd /var/lib/polyblk
          polyblk volume create toy --level raid1 file:a,size=16MiB file:b,size=16MiB >&2
          polyblk serve toy --frontend nbd >&2 &
          until polyblk volume list --json | grep -q "\"status\": *\"served\""; do sleep 0.1; done
          polyblk volume stop toy
          wait $!'
        """;

    private static readonly (string, string)[] s_buildah = [("STORAGE_DRIVER", "vfs"), ("BUILDAH_ISOLATION", "chroot")];

    // buildah takes paths of layouts for names of images, and these have no capitals.
    private readonly string _folder =
        Directory.CreateDirectory(Path.Combine(Path.GetTempPath(), $"polyblk-oci-{Guid.NewGuid():n}")).FullName;

    [Fact]
    public void It_is_an_image_layout_and_serves_as_its_own_user()
    {
        Bash(MakeBase, _folder, Shell.Source("tests", "setup", "debian-root"));
        string layout = Path.Combine(_folder, "image");
        (int status, string said) = Shell.TryRun(
            s_buildah, Shell.Source("eng", "image"),
            "--package", package.Path, "--base", $"oci:{_folder}/base:1", "--out", layout);
        Assert.True(status == 0, said);
        Assert.Equal("1.0.0", Read(Path.Combine(layout, "oci-layout")).GetProperty("imageLayoutVersion").GetString());
        JsonElement manifest = Blob(Read(Path.Combine(layout, "index.json")).GetProperty("manifests")[0]);
        JsonElement config = Blob(manifest.GetProperty("config")).GetProperty("config");
        Assert.Equal(
            ("polyblk", "/usr/bin/polyblk", "daemon", "SIGTERM"),
            (config.GetProperty("User").GetString(), config.GetProperty("Entrypoint")[0].GetString(),
                config.GetProperty("Cmd")[0].GetString(), config.GetProperty("StopSignal").GetString()));
        string version = Shell.Run("dpkg-deb", "-f", package.Path, "Version").Trim();
        string[] lines = Bash(UseIt, _folder, version).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal("polyblk", lines[0]);
        Assert.StartsWith(version, lines[1], StringComparison.Ordinal);
        Assert.Contains("Volume 'toy' is stopped.", lines);

        JsonElement Blob(JsonElement descriptor) =>
            Read(Path.Combine(layout, "blobs", descriptor.GetProperty("digest").GetString()!.Replace(':', '/')));
    }

    [Fact]
    public void What_is_missing_is_said()
    {
        (int status, string said) = Shell.TryRun(Shell.Source("eng", "image"), "--package", Path.Combine(_folder, "none.deb"));
        Assert.Equal((1, $"image: {_folder}/none.deb is not there.\n"), (status, said));
        (status, said) = Shell.TryRun(Shell.Source("eng", "image"), "--packages");
        Assert.Equal((2, "image: there is no option '--packages': see the head of this file.\n"), (status, said));
    }

    public void Dispose()
    {
        Shell.TryRun("umount", Path.Combine(_folder, "root"));
        Directory.Delete(_folder, recursive: true);
    }

    private static string Bash(string script, params string[] arguments)
    {
        (int status, string said) = Shell.TryRun(s_buildah, "bash", ["-ec", script, "bash", .. arguments]);
        Assert.True(status == 0, said);
        return said;
    }

    private static JsonElement Read(string file) => JsonDocument.Parse(File.ReadAllText(file)).RootElement;
}
