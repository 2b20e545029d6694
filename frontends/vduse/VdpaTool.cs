// The vdpa bus: attaching and detaching by iproute2's vdpa tool, and what sysfs says.

using System.ComponentModel;
using System.Diagnostics;
using Polyblk.Core.Interop;

namespace Polyblk.Frontends.Vduse;

/// <summary>To what kind of consumer a device is attached.</summary>
internal enum VdpaAttachment
{
    /// <summary>It is not attached by us.</summary>
    None,

    /// <summary>virtio_vdpa: a block device of this host.</summary>
    Virtio,

    /// <summary>vhost_vdpa: a character device for a virtual machine.</summary>
    Vhost,
}

/// <summary>Attaches VDUSE devices to the vdpa bus.</summary>
internal static class VdpaTool
{
    private const string Bus = "/sys/bus/vdpa";
    private static readonly TimeSpan s_nodeTimeout = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan s_pollInterval = TimeSpan.FromMilliseconds(50);

    /// <summary>The tool's path, or null.</summary>
    public static string? Find() => ProgramPath.TryFind("vdpa");

    /// <summary>Whether the VDUSE device of that name is on the bus. A device of another kind may have the name there.</summary>
    public static bool IsAttached(string name)
    {
        var link = new DirectoryInfo(DeviceFolder(name));
        return link.Exists && link.ResolveLinkTarget(returnFinalTarget: true) is { } device
            && device.FullName.Contains($"/vduse/{name}/", StringComparison.Ordinal);
    }

    /// <summary>Whether a bus driver is loaded.</summary>
    public static bool HasDriver(VdpaAttachment kind) => Directory.Exists(DriverFolder(kind));

    /// <summary>The device's node, or null while there is none.</summary>
    public static string? FindNode(string name)
    {
        if (!IsAttached(name))
        {
            return null;
        }

        foreach (string child in Directory.EnumerateDirectories(DeviceFolder(name)))
        {
            string file = Path.GetFileName(child);
            if (file.StartsWith("vhost-vdpa-", StringComparison.Ordinal))
            {
                return "/dev/" + file;
            }

            string block = Path.Combine(child, "block");
            if (file.StartsWith("virtio", StringComparison.Ordinal) && Directory.Exists(block)
                && Directory.EnumerateDirectories(block).FirstOrDefault() is { } disk)
            {
                return "/dev/" + Path.GetFileName(disk);
            }
        }

        return null;
    }

    /// <summary>Puts the device on the bus (if it is not there), binds it to the driver, and waits for its node.</summary>
    /// <exception cref="FrontendException">It does not work; the message says what to do.</exception>
    public static async Task<string> AttachAsync(string name, VdpaAttachment kind, TimeProvider clock, CancellationToken cancellation)
    {
        await RequireDriverAsync(kind).ConfigureAwait(false);
        if (!IsAttached(name))
        {
            string tool = Find() ?? throw new FrontendException("The 'vdpa' tool is missing: install iproute2 (apt install iproute2).");
            (int status, string output) = await RunAsync(tool, "dev", "add", "name", name, "mgmtdev", "vduse").ConfigureAwait(false);
            if (status != 0)
            {
                throw new FrontendException(
                    $"'vdpa dev add name {name} mgmtdev vduse' failed: {output} (is another device of that name on the bus? see 'vdpa dev show').");
            }
        }

        await BindAsync(name, kind, cancellation).ConfigureAwait(false);
        return await WaitForNodeAsync(name, clock, cancellation).ConfigureAwait(false);
    }

    /// <summary>Takes the device off the bus. Its daemon must answer messages meanwhile.</summary>
    /// <exception cref="FrontendException">It does not work.</exception>
    public static async Task DetachAsync(string name)
    {
        if (!IsAttached(name))
        {
            return;
        }

        string tool = Find() ?? throw new FrontendException("The 'vdpa' tool is missing: install iproute2, then run 'vdpa dev del " + name + "'.");
        (int status, string output) = await RunAsync(tool, "dev", "del", name).ConfigureAwait(false);
        if (status != 0 && IsAttached(name))
        {
            throw new FrontendException($"'vdpa dev del {name}' failed: {output}");
        }
    }

    private static async Task RequireDriverAsync(VdpaAttachment kind)
    {
        if (HasDriver(kind))
        {
            return;
        }

        string module = ModuleOf(kind);
        string output = "modprobe is missing";
        if (ProgramPath.TryFind("modprobe") is { } modprobe)
        {
            (_, output) = await RunAsync(modprobe, module).ConfigureAwait(false);
        }

        if (!HasDriver(kind))
        {
            throw new FrontendException($"The kernel has no driver {module}: load it with 'modprobe {module}' ({output}).");
        }
    }

    /// <summary>Binds the device to the driver that is wanted: whichever was loaded first took it.</summary>
    private static async Task BindAsync(string name, VdpaAttachment kind, CancellationToken cancellation)
    {
        string link = Path.Combine(DeviceFolder(name), "driver");
        string? bound = new FileInfo(link).LinkTarget is { } target ? Path.GetFileName(target) : null;
        if (bound == ModuleOf(kind))
        {
            return;
        }

        try
        {
            if (bound is not null)
            {
                if (FindNode(name) is { } node && NodeUsers.Find(node) is { } user)
                {
                    throw new FrontendException($"{name} is attached by {bound} as {node} and {user}: end that, or leave out --attach.");
                }

                await File.WriteAllTextAsync($"{Bus}/drivers/{bound}/unbind", name, cancellation).ConfigureAwait(false);
            }

            await File.WriteAllTextAsync($"{DriverFolder(kind)}/bind", name, cancellation).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new FrontendException($"{name} cannot be bound to {ModuleOf(kind)}: {e.Message}", e);
        }
    }

    private static async Task<string> WaitForNodeAsync(string name, TimeProvider clock, CancellationToken cancellation)
    {
        long start = clock.GetTimestamp();
        while (clock.GetElapsedTime(start) < s_nodeTimeout)
        {
            if (FindNode(name) is { } node && File.Exists(node))
            {
                return node;
            }

            await Task.Delay(s_pollInterval, clock, cancellation).ConfigureAwait(false);
        }

        throw new FrontendException(
            $"{name} is on the vdpa bus, but no device node appeared within {s_nodeTimeout.TotalSeconds:0} s: see 'dmesg', and whether virtio_blk is loaded.");
    }

    private static string DeviceFolder(string name) => $"{Bus}/devices/{name}";

    private static string DriverFolder(VdpaAttachment kind) => $"{Bus}/drivers/{ModuleOf(kind)}";

    private static string ModuleOf(VdpaAttachment kind) => kind == VdpaAttachment.Vhost ? "vhost_vdpa" : "virtio_vdpa";

    /// <summary>
    /// Runs a program to its end. It is not interrupted: what it had done by then could not be told, and not be taken back.
    /// </summary>
    private static async Task<(int Status, string Output)> RunAsync(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        try
        {
            using Process process = Process.Start(start)!;
            Task<string> output = process.StandardOutput.ReadToEndAsync();
            Task<string> errors = process.StandardError.ReadToEndAsync();
            await process.WaitForExitAsync().ConfigureAwait(false);
            return (process.ExitCode, $"{(await output.ConfigureAwait(false)).Trim()} {(await errors.ConfigureAwait(false)).Trim()}".Trim());
        }
        catch (Win32Exception e)
        {
            throw new FrontendException($"{program} cannot be run: {e.Message}", e);
        }
    }
}
