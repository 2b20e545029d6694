using Polyblk.Core.Block;

namespace Polyblk.Drives.Files;

/// <summary><c>file:PATH[,size=SIZE]</c>, and every plain path: files and block devices.</summary>
internal sealed class FileKind : IDriveKind
{
    private const string DirectOption = "direct";

    public string Name => "file";

    public string Form => "file:PATH[,size=SIZE]";

    public string Description => "a file, made (sparse) where there is none and a size is given";

    public bool IsVolatile => false;

    public DriveSpec Parse(DriveText text)
    {
        if (text.First.Length == 0)
        {
            throw new FormatException($"'{text.Text}' lacks the path: write file:PATH[,size=1GiB].");
        }

        var own = new Dictionary<string, string>();
        var spec = new DriveSpec { Text = text.Text, Kind = this, Path = text.First, Options = own };
        foreach ((string name, string value) in text.Options())
        {
            switch (name)
            {
                case "size":
                    spec = spec with { SizeBytes = text.ParseSize(value) };
                    break;
                case "block-size":
                    spec = spec with { LogicalBlockSize = text.ParseBlockSize(value) };
                    break;
                case DirectOption:
                    own[name] = text.ParseSwitch(value) ? "on" : "off";
                    break;
                default:
                    throw text.Wrong($"a file has no option '{name}'; it has size, block-size and direct.");
            }
        }

        return spec;
    }

    public IBlockDevice Open(DriveSpec spec, bool readOnly) => FileDrive.Open(spec, readOnly);

    /// <summary>Whether files bypass the page cache: null does where that is possible, true insists, false does not.</summary>
    public static bool? Direct(DriveSpec spec) =>
        spec.Options.TryGetValue(DirectOption, out string? value) ? value == "on" : null;
}
