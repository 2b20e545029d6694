using Polyblk.Core.Block;

namespace Polyblk.Drives;

/// <summary>
/// A kind of drives: how one is written, and how it is opened. Its folder, and one line of <see cref="DriveKinds"/>.
/// </summary>
public interface IDriveKind
{
    /// <summary>What stands before the colon: <c>file</c>.</summary>
    string Name { get; }

    /// <summary>How such a drive is written: <c>file:PATH[,size=SIZE]</c>.</summary>
    string Form { get; }

    /// <summary>What it is, as the end of a sentence that begins with <see cref="Form"/>.</summary>
    string Description { get; }

    /// <summary>Whether its content is gone when the process ends.</summary>
    bool IsVolatile { get; }

    /// <summary>Reads what was written.</summary>
    /// <exception cref="FormatException">It is wrong; the message shows how it is written.</exception>
    DriveSpec Parse(DriveText text);

    /// <summary>Opens a drive that <see cref="Parse"/> has read. The caller disposes it.</summary>
    /// <exception cref="DriveException">It cannot be opened; the message says why and what to do.</exception>
    IBlockDevice Open(DriveSpec spec, bool readOnly);
}
