// Devices of the kernel that outlive their server while somebody (udev, a stray fio) has them open at the moment of its end:
// taken away here.

using System.Globalization;
using System.Text;
using System.Text.Json;
using Polyblk.Core.Interop;

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

        string list = await server.Program.RunAsync("ublk", "list", "--json", "--state", scratch.StateDirectory).ConfigureAwait(false);
        using JsonDocument devices = JsonDocument.Parse(list);
        foreach (JsonElement device in devices.RootElement.EnumerateArray())
        {
            // A server that died before it had noted its device is known by its process id.
            bool isNoted = device.TryGetProperty("volume", out JsonElement volume) && volume.GetString() == server.Volume;
            bool isServers = device.TryGetProperty("serverPid", out JsonElement pid) && pid.GetInt32() == server.LastProcessId;
            if (isNoted || isServers)
            {
                string number = device.GetProperty("number").GetUInt32().ToString(CultureInfo.InvariantCulture);
                await server.Program.RunAsync("ublk", "delete", number, "--force", "--state", scratch.StateDirectory).ConfigureAwait(false);
            }
        }
    }

    /// <summary>
    /// Names of the VDUSE devices that a comparison with this process id makes: for the host, for a VM, for a VM's QEMU, and the
    /// peer's.
    /// </summary>
    public static IEnumerable<string> VduseNames(string processId) => [$"pbc{processId}", $"pbg{processId}", $"pbv{processId}", $"pbqsd{processId}"];

    /// <summary>Whether the kernel has a VDUSE device of that name, on the bus or not.</summary>
    public static bool HasVduse(string name) => Directory.Exists($"/sys/class/vduse/{name}") || Directory.Exists($"/sys/bus/vdpa/devices/{name}");

    /// <summary>Takes a VDUSE device whose server has died off the bus, and destroys it.</summary>
    /// <exception cref="MethodException">The kernel refuses.</exception>
    public static async Task RemoveVduseAsync(string name)
    {
        await RemoveVdpaAsync(name).ConfigureAwait(false);
        int errno = DestroyVduse(name);
        if (errno != 0 && Directory.Exists($"/sys/class/vduse/{name}"))
        {
            throw new MethodException($"VDUSE_DESTROY_DEV ended with errno {errno}");
        }
    }

    /// <summary>linux/vduse.h: VDUSE_DESTROY_DEV is _IOW(0x81, 0x03, char[256]).</summary>
    private static unsafe int DestroyVduse(string name)
    {
        const nuint VDUSE_DESTROY_DEV = 0x41008103;
        byte* text = stackalloc byte[256];
        new Span<byte>(text, 256).Clear();
        Encoding.ASCII.GetBytes(name, new Span<byte>(text, 255));
        int fd = Libc.open("/dev/vduse/control", Libc.O_RDWR | Libc.O_CLOEXEC);
        if (fd < 0)
        {
            return -fd;
        }

        int result = Libc.ioctl(fd, VDUSE_DESTROY_DEV, text);
        _ = Libc.close(fd);
        return result < 0 ? -result : 0;
    }

    /// <summary>Takes a VDUSE device of a server of this program off the vdpa bus, if it has outlived its server.</summary>
    /// <exception cref="MethodException">The kernel does not give it back.</exception>
    public static Task RemoveVduseAsync(ScratchSpace scratch, string name)
    {
        ArgumentNullException.ThrowIfNull(scratch);
        return WaitingDevice.RemoveAsync(scratch.Directory, name, isServed: false);
    }

    /// <summary>
    /// Takes a VDUSE device of ours off the vdpa bus, if it is still there. It may have no requests in flight that nobody
    /// answers.
    /// </summary>
    internal static async Task RemoveVdpaAsync(string name)
    {
        if (Directory.Exists($"/sys/bus/vdpa/devices/{name}"))
        {
            await Command.RunAsync(["vdpa", "dev", "del", name], CancellationToken.None).ConfigureAwait(false);
        }
    }
}
