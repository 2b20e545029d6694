using System.Collections.Immutable;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Checksums;

/// <summary>The checksums of an array's members: begins with those of a drive, and ends them all. Control threads.</summary>
/// <param name="layout">Where they lie on every member.</param>
/// <param name="array">The array's name, for messages.</param>
/// <param name="home">Carries the keepers' requests.</param>
/// <param name="options">How the array behaves.</param>
internal sealed class ArrayChecksums(ChecksumLayout layout, string array, Reactor home, ArrayRunOptions options)
{
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(100);

    private ImmutableArray<ChecksummedDrive> _all = [];

    /// <summary>Where they lie on every member.</summary>
    public ChecksumLayout Layout => layout;

    /// <summary>Those of an array; null where it has none.</summary>
    public static ArrayChecksums? Of(ArraySuperblock superblock, Reactor home, ArrayRunOptions options) =>
        ChecksumLayout.Of(superblock) is { } layout ? new ArrayChecksums(layout, superblock.Name, home, options) : null;

    /// <summary>A drive becomes a member of which no block has a sum.</summary>
    /// <exception cref="ArrayException">It cannot be opened or written.</exception>
    public async Task<ChecksummedDrive> FormatAsync(IBlockDevice drive, int role, Guid member)
    {
        try
        {
            return Add(await ChecksummedDrive.FormatAsync(drive, layout, member, home, options, Teller(drive, role)));
        }
        catch (IOException e)
        {
            throw new ArrayException($"{drive.Name} cannot be given checksums: {e.Message}", e);
        }
    }

    /// <summary>A drive is a member already.</summary>
    /// <exception cref="ArrayException">It cannot be opened.</exception>
    public async Task<ChecksummedDrive> OpenAsync(IBlockDevice drive, int role, Guid member, bool readOnly)
    {
        try
        {
            return Add(await ChecksummedDrive.OpenAsync(drive, layout, member, home, options, readOnly, Teller(drive, role)));
        }
        catch (IOException e)
        {
            throw new ArrayException($"The checksums of {drive.Name} cannot be opened: {e.Message}", e);
        }
    }

    /// <summary>
    /// Ends those of one member, whose drive may be somebody else's when this returns: its keeper writes nothing any more, also
    /// where it waits for the drive still.
    /// </summary>
    /// <param name="sums">Which; nothing is done where there are none.</param>
    /// <param name="clean">Whether what is in memory is written first.</param>
    public async Task CloseAsync(ChecksummedDrive? sums, bool clean)
    {
        if (sums is null)
        {
            return;
        }

        ImmutableInterlocked.Update(ref _all, (all, its) => all.Remove(its), sums);
        Task<bool> closing = sums.CloseAsync(clean);
        long began = options.Clock.GetTimestamp();
        while (!closing.IsCompleted && options.Clock.GetElapsedTime(began) < options.SlowAfter)
        {
            await Task.WhenAny(closing, Task.Delay(s_look, options.Clock));
        }

        sums.Keeper.Leave();
    }

    /// <summary>Ends all that there are.</summary>
    /// <param name="clean">Of which what is in memory is written first.</param>
    public Task CloseAllAsync(Func<ChecksummedDrive, bool> clean) =>
        Task.WhenAll(_all.Select(sums => CloseAsync(sums, clean(sums))));

    private ChecksummedDrive Add(ChecksummedDrive sums)
    {
        ImmutableInterlocked.Update(ref _all, (all, its) => all.Add(its), sums);
        return sums;
    }

    private Action<string> Teller(IBlockDevice drive, int role) => what => options.OnEvent?.Invoke(
        new ArrayEvent(ArrayEventKind.ChecksumsLost) { Array = array, Role = role, Drive = drive.Name, Reason = what });
}
