// Devices of the kernel that outlive their server while somebody (udev, a stray fio) has them open at the moment of its end: taken away here.

using System.Globalization;

namespace Polyblk.Compare.Methods;

/// <summary>Removes what a method's server left in the kernel. Only devices that this comparison made.</summary>
public static class KernelDevices
{
    /// <summary>Deletes a ublk device that is still there. <c>polyblk ublk delete</c> refuses those that are not this state directory's.</summary>
    public static async Task RemoveUblkAsync(PolyblkProgram program, ScratchSpace scratch, string device)
    {
        ArgumentNullException.ThrowIfNull(program);
        ArgumentNullException.ThrowIfNull(scratch);
        if (File.Exists(device))
        {
            string number = new([.. device.Where(char.IsAsciiDigit)]);
            _ = int.Parse(number, CultureInfo.InvariantCulture);
            await Command.RunAsync([.. program.Command, "ublk", "delete", number, "--force", "--state", scratch.StateDirectory], CancellationToken.None).ConfigureAwait(false);
        }
    }

    /// <summary>Takes a VDUSE device of ours off the vdpa bus, if it is still there.</summary>
    public static async Task RemoveVdpaAsync(string name)
    {
        if (Directory.Exists($"/sys/bus/vdpa/devices/{name}"))
        {
            await Command.RunAsync(["vdpa", "dev", "del", name], CancellationToken.None).ConfigureAwait(false);
        }
    }
}
