using Polyblk.Compare.Methods;
using Polyblk.Machine;

namespace Polyblk.Compare.Guest;

/// <summary>
/// What the machine of the guest vantage boots: files that this program prepares, or an image of the user's own.
/// </summary>
public interface IGuestSystem
{
    /// <summary>Whether this host has what such a machine needs.</summary>
    MethodAvailability Check();

    /// <summary>Boots a machine and returns when it can run scripts.</summary>
    /// <param name="disks">Its disks. In the machine, <see cref="DeviceOf"/> names each.</param>
    /// <param name="hostCpus">The host's processors that it may use.</param>
    /// <param name="cancellation">Ends the waiting.</param>
    /// <exception cref="GuestException">It ended, or did not get there in time.</exception>
    /// <exception cref="MachineException">Something for it is missing here.</exception>
    /// <exception cref="MethodException">It lacks something.</exception>
    Task<IBootedGuest> BootAsync(IReadOnlyList<GuestDisk> disks, IReadOnlyList<int> hostCpus, CancellationToken cancellation);

    /// <summary>The device in the machine of the disk in a slot.</summary>
    static string DeviceOf(string slot) => $"/dev/slot{slot}";
}

/// <summary>A machine that runs. Disposing ends it.</summary>
public interface IBootedGuest : IGuestMachine, IAsyncDisposable
{
    /// <summary>What runs in it, for the record.</summary>
    string System { get; }

    /// <summary>Slots whose disks it does not see.</summary>
    IReadOnlyList<string> MissingSlots { get; }
}
