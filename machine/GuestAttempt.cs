// One attempt at something that needs guests, repeated when the machine itself broke down.
//
// Theory of operation: QEMU's emulator with several threads (10.0) aborts now and then while another processor changes the memory
// map: the assertions in iotlb_to_section and in msix_table_mmio_write, mostly while a guest boots; a guest's kernel dies of a
// patch that the emulator lost, or of a timer tick that came too late on a busy host (QemuProgram.IsBreakdown). That says nothing
// about what runs in the guest, so the work is begun again with new guests. Any other failure is the work's own and is thrown.
// What fails first is often not the guest itself but a socket that went with it; so an attempt that fails gives its guests a
// moment to end, and then asks them how they did.

namespace Polyblk.Machine;

/// <summary>The guests of one attempt. Disposing kills them.</summary>
public sealed class GuestAttempt : IAsyncDisposable
{
    private const int MaxAttempts = 3;

    /// <summary>How long QEMU may take to end after a socket of it broke.</summary>
    private static readonly TimeSpan s_grace = TimeSpan.FromSeconds(2);

    private readonly List<GuestVm> _guests = [];

    private GuestAttempt()
    {
    }

    /// <summary>Boots a guest that lives no longer than the attempt.</summary>
    public GuestVm Start(GuestBuilder builder)
    {
        ArgumentNullException.ThrowIfNull(builder);
        GuestVm guest = builder.Start();
        _guests.Add(guest);
        return guest;
    }

    /// <summary>Does the work; from the beginning again when a machine of it broke down, three times at most.</summary>
    /// <param name="work">What is done; it starts its guests by the attempt, and makes anew whatever an attempt before it has
    /// used up.</param>
    /// <param name="onRepeat">Is told why the work begins again.</param>
    public static async Task<T> RunAsync<T>(Func<GuestAttempt, Task<T>> work, Action<string> onRepeat)
    {
        ArgumentNullException.ThrowIfNull(work);
        ArgumentNullException.ThrowIfNull(onRepeat);
        for (int number = 1; ; number++)
        {
            await using var attempt = new GuestAttempt();
            try
            {
                return await work(attempt).ConfigureAwait(false);
            }
            catch (Exception e) when (number < MaxAttempts)
            {
                if (await attempt.FaultAsync().ConfigureAwait(false) is not GuestException fault)
                {
                    throw;
                }

                onRepeat($"QEMU broke down, the work begins again with a new guest. {fault.Message} (First seen: {e.Message})");
            }
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        foreach (GuestVm guest in _guests)
        {
            await guest.DisposeAsync().ConfigureAwait(false);
        }
    }

    private async Task<GuestException?> FaultAsync()
    {
        foreach (GuestVm guest in _guests)
        {
            if (await guest.FaultAsync(s_grace).ConfigureAwait(false) is GuestException fault)
            {
                return fault;
            }
        }

        return null;
    }
}
