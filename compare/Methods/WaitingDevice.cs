// A VDUSE device outlives its server: requests that were in flight wait for the next one, and as long as they wait, the kernel
// does not give the device back; `vdpa dev del` would wait for ever, with a lock held that all of vdpa needs. Even without
// requests it waits half a minute for a server to answer. So the command of its server is noted in the comparison's folder: when
// both were killed, the next comparison serves the device again until nothing is in flight, takes it off the bus, and ends that
// server in order.

using System.Diagnostics;

namespace Polyblk.Compare.Methods;

/// <summary>Devices of the vdpa bus that wait for their server.</summary>
internal static class WaitingDevice
{
    // A server's start alone takes most of a minute in an emulated machine; one that ends is not waited for.
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(4);
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(6);
    private static readonly TimeSpan s_step = TimeSpan.FromMilliseconds(50);

    /// <summary>Notes by what command a device is served.</summary>
    public static void Note(ScratchSpace scratch, string name, IEnumerable<string> command) => File.WriteAllLines(scratch.PathOf(FileOf(name)), command);

    /// <summary>
    /// Takes a device of this comparison off the bus, if it is still there; where its server has gone, with the help of another
    /// one, and what the server has not destroyed itself is destroyed.
    /// </summary>
    /// <param name="folder">The comparison's folder, where the server's command was noted.</param>
    /// <param name="name">The device.</param>
    /// <param name="isServed">Whether its server lives.</param>
    /// <exception cref="MethodException">The kernel does not give it back.</exception>
    public static async Task RemoveAsync(string folder, string name, bool isServed)
    {
        try
        {
            if (!isServed)
            {
                await TakeOffAsync(folder, name).WaitAsync(s_limit).ConfigureAwait(false);
            }

            Task removal = !KernelDevices.HasVduse(name) ? Task.CompletedTask : isServed ? KernelDevices.RemoveVdpaAsync(name) : KernelDevices.RemoveVduseAsync(name);
            await removal.WaitAsync(s_limit).ConfigureAwait(false);
        }
        catch (TimeoutException e)
        {
            throw new MethodException($"the kernel has not given the VDUSE device {name} back in {s_limit.TotalMinutes} minutes", e);
        }
    }

    /// <summary>Takes a device off the bus with the help of a server, where it is on the bus and a command was noted.</summary>
    /// <exception cref="MethodException">Its requests were not answered: it cannot be taken away.</exception>
    public static async Task TakeOffAsync(string folder, string name)
    {
        string note = Path.Combine(folder, FileOf(name));
        if (!File.Exists(note) || !Directory.Exists(PlaceOf(name)))
        {
            return;
        }

        await using ChildProcess server = ChildProcess.Start(await File.ReadAllLinesAsync(note).ConfigureAwait(false), []);
        _ = server.Output.ReadToEndAsync(CancellationToken.None);
        for (var wait = Stopwatch.StartNew(); !IsServed(server.Id, name) || InFlight(name) > 0; await Task.Delay(s_step).ConfigureAwait(false))
        {
            if (server.HasExited || wait.Elapsed > s_patience)
            {
                throw new MethodException($"its server, which was started once more, does not answer its {InFlight(name)} requests: {server.LastErrors}");
            }
        }

        await KernelDevices.RemoveVdpaAsync(name).ConfigureAwait(false);
    }

    private static string FileOf(string name) => $"serve-{name}";

    private static string PlaceOf(string name) => $"/sys/bus/vdpa/devices/{name}";

    /// <summary>Whether a process has the device's node open.</summary>
    private static bool IsServed(int pid, string name)
    {
        string descriptors = $"/proc/{pid}/fd";
        return Directory.Exists(descriptors) && Directory.EnumerateFiles(descriptors).Any(d => new FileInfo(d).LinkTarget == $"/dev/vduse/{name}");
    }

    /// <summary>Requests that the device's disk waits for; 0 where it has no disk.</summary>
    private static long InFlight(string name)
    {
        try
        {
            return Directory.EnumerateDirectories(PlaceOf(name), "virtio*").Select(v => Path.Combine(v, "block")).Where(Directory.Exists).SelectMany(Directory.EnumerateDirectories)
                .Sum(disk => File.ReadAllText(Path.Combine(disk, "inflight")).Split(' ', StringSplitOptions.RemoveEmptyEntries).Sum(long.Parse));
        }
        catch (IOException)
        {
            // It went while it was looked at.
            return 0;
        }
    }
}
