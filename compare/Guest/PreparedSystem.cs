// A machine with a kernel of the distribution, or of the user's own, and an initramfs that holds fio and little more. In it a
// loop runs the scripts that this side sends over the control channel, one at a time, and sends back what they print.

using System.Globalization;
using System.IO.Compression;
using System.Text;
using Polyblk.Compare.Methods;
using Polyblk.Machine;

namespace Polyblk.Compare.Guest;

/// <summary>See the top of the file.</summary>
/// <param name="builder">Makes a machine without disks and script.</param>
public sealed class PreparedSystem(Func<GuestBuilder> builder) : IGuestSystem
{
    /// <summary>
    /// From the start until the script's loop runs, and what a disk that does not appear adds. Emulated it takes half a minute.
    /// </summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(4);
    private static readonly TimeSpan s_patienceOfDisk = TimeSpan.FromMinutes(1);

    /// <summary>Of the file systems that workloads ask for (Presets).</summary>
    private static readonly string[] s_fileSystemPrograms = ["mkfs.ext4"];

    /// <inheritdoc/>
    public MethodAvailability Check() => MissingPrograms.Check(("qemu-system-x86_64", "qemu-system-x86"), ("fio", "fio"));

    /// <inheritdoc/>
    public async Task<IBootedGuest> BootAsync(IReadOnlyList<GuestDisk> disks, IReadOnlyList<int> hostCpus, CancellationToken cancellation)
    {
        GuestBuilder machine = builder().Programs("fio").Programs([.. s_fileSystemPrograms.Where(HostProgram.IsInstalled)]).PinTo(hostCpus);
        string[] slots = [.. disks.Select(machine.Disk)];
        var guest = new Guest(machine.Script(Loop(slots)).Start());
        try
        {
            await guest.GetReadyAsync(cancellation).WaitAsync(s_patience + (disks.Count * s_patienceOfDisk), cancellation).ConfigureAwait(false);
            return guest;
        }
        catch (TimeoutException e)
        {
            await guest.DisposeAsync().ConfigureAwait(false);
            throw new GuestException("The virtual machine stands still: it did not come to its first script.", e) { IsMachineFault = true };
        }
        catch
        {
            await guest.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>The machine's side. Results are packed: the channel is slow where the machine is emulated.</summary>
    private static string Loop(IEnumerable<string> slots) => $$"""
        modprobe virtio_blk; modprobe ext4 2>/dev/null
        missing=
        for slot in {{string.Join(' ', slots)}}; do
          device=$(disk $slot) && ln -s $device /dev/slot$slot || missing="$missing $slot"
        done
        signal ready $missing
        while await run; do
          echo "$said" | base64 -d >/tmp/script
          sh /tmp/script >/tmp/output 2>/tmp/errors </dev/null
          status=$?
          tail -c 2000 /tmp/errors >/tmp/last
          printf 'SIGNAL done %s %s %s\n' $status "$(gzip -c /tmp/output | base64 -w 0)" "$(gzip -c /tmp/last | base64 -w 0)" >&3
        done
        poweroff -f
        """;

    private sealed class Guest(GuestVm machine) : IBootedGuest
    {
        private int _scripts;

        public string FioVersion { get; private set; } = "fio";

        public string System { get; private set; } = "";

        public IReadOnlyList<string> MissingSlots { get; private set; } = [];

        public IReadOnlyList<int> ProcessIds => machine.QemuProcessId is int pid ? [pid] : [];

        public async Task GetReadyAsync(CancellationToken cancellation)
        {
            string missing = await machine.WaitForSignalAsync("ready").WaitAsync(cancellation).ConfigureAwait(false);
            MissingSlots = missing.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            GuestCommandResult said = await RunAsync("fio --version; uname -r", s_patience, () => { }, cancellation).ConfigureAwait(false);
            if (said.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries) is [string fio, string release])
            {
                (FioVersion, System) = (fio, $"Linux {release} with an initramfs of this program");
            }
        }

        public Task<GuestCommandResult> RunAsync(string script, TimeSpan limit, Action onMark, CancellationToken cancellation) =>
            ScriptLimit.RunAsync(limit, within => RunAsync(script, onMark, within), cancellation);

        private async Task<GuestCommandResult> RunAsync(string script, Action onMark, CancellationToken cancellation)
        {
            // A mark of an earlier script may come late.
            string mark = string.Create(CultureInfo.InvariantCulture, $"mark{++_scripts}");
            string prelude = $"mark() {{ printf 'SIGNAL {mark}\n' >&3; }}\n";
            try
            {
                await machine.SendAsync($"run {Convert.ToBase64String(Encoding.UTF8.GetBytes(prelude + script))}").WaitAsync(cancellation).ConfigureAwait(false);
                Task<string> finished = machine.WaitForSignalAsync("done");
                Task<string> marked = machine.WaitForSignalAsync(mark);
                if (await Task.WhenAny(finished, marked).WaitAsync(cancellation).ConfigureAwait(false) == marked)
                {
                    await marked.ConfigureAwait(false);
                    onMark();
                }

                string[] done = (await finished.WaitAsync(cancellation).ConfigureAwait(false)).Split(' ');
                return new GuestCommandResult(int.Parse(done[0], CultureInfo.InvariantCulture), Unpack(done[1]), Unpack(done[2]).Trim());
            }
            catch (Exception e) when (e is GuestException or IOException)
            {
                throw new MethodException($"the virtual machine failed: {e.Message}", e);
            }
        }

        public ValueTask DisposeAsync() => machine.DisposeAsync();

        private static string Unpack(string packed)
        {
            using var gzip = new GZipStream(new MemoryStream(Convert.FromBase64String(packed)), CompressionMode.Decompress);
            using var reader = new StreamReader(gzip, Encoding.UTF8);
            return reader.ReadToEnd();
        }
    }
}
