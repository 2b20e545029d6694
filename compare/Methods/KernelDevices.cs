// Devices of the kernel that outlive their server while somebody (udev, a stray fio) has them open at the moment of its end: taken away here.

using System.Globalization;
using System.Text.Json;

namespace Polyblk.Compare.Methods;

/// <summary>Removes what a method's server left in the kernel. Only devices that this comparison made.</summary>
public static class KernelDevices
{
    /// <summary>Deletes what is left of the ublk devices of a volume of ours.</summary>
    public static async Task RemoveUblkAsync(PolyblkServer server, ScratchSpace scratch)
    {
        ArgumentNullException.ThrowIfNull(server);
        ArgumentNullException.ThrowIfNull(scratch);
        if (!File.Exists("/dev/ublk-control"))
        {
            return;
        }

        string list = await Command.RunAsync([.. server.Program.Command, "ublk", "list", "--json", "--state", scratch.StateDirectory], CancellationToken.None).ConfigureAwait(false);
        using JsonDocument devices = JsonDocument.Parse(list);
        foreach (JsonElement device in devices.RootElement.EnumerateArray())
        {
            // A server that died before it had noted its device is known by its process id.
            bool isNoted = device.TryGetProperty("volume", out JsonElement volume) && volume.GetString() == server.Volume;
            bool isServers = device.TryGetProperty("serverPid", out JsonElement pid) && pid.GetInt32() == server.LastProcessId;
            if (isNoted || isServers)
            {
                string number = device.GetProperty("number").GetUInt32().ToString(CultureInfo.InvariantCulture);
                await Command.RunAsync([.. server.Program.Command, "ublk", "delete", number, "--force", "--state", scratch.StateDirectory], CancellationToken.None).ConfigureAwait(false);
            }
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
