// A machine that boots a disk image of the user's own and is reached by ssh as root, with a key that the image's cloud-init puts
// there.
//
// What is measured is the system in the image, with its kernel and its fio. What it lacks of fio and mkfs comes from this host,
// on a disk of the machine (ImageVm). The image's own boot goes on for a while after ssh answers; cloud-init tells when it has
// done its part.

using System.Globalization;
using Polyblk.Compare.Methods;
using Polyblk.Machine;

namespace Polyblk.Compare.Guest;

/// <summary>See the top of the file.</summary>
/// <param name="image">What is booted.</param>
/// <param name="memoryMib">The machine's memory in MiB.</param>
/// <param name="cpus">Its processors.</param>
/// <param name="limit">How long it may run in all.</param>
public sealed class ImageSystem(DiskImage image, int memoryMib, int cpus, TimeSpan limit) : IGuestSystem
{
    private const string ProgramsFolder = "/run/polyblk";

    private static readonly string[] s_programs = ["fio", "mkfs.ext4", "mkfs.xfs"];

    /// <summary>
    /// From power-on until ssh answers. A distribution's first boot takes a minute; emulated, ten times as long and more.
    /// </summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(5);
    private static readonly TimeSpan s_patienceEmulated = TimeSpan.FromMinutes(20);

    private static readonly TimeSpan s_pause = TimeSpan.FromSeconds(1);

    /// <summary>
    /// Between attempts that the server turned down: OpenSSH 9.8 and later shut out who does that more than once in five seconds
    /// (PerSourcePenalties).
    /// </summary>
    private static readonly TimeSpan s_pauseRefused = TimeSpan.FromSeconds(7);

    /// <inheritdoc/>
    public MethodAvailability Check() => MissingPrograms.Check(
        ("qemu-system-x86_64", "qemu-system-x86"), ("qemu-img", "qemu-utils"), ("ssh", "openssh-client"), ("ssh-keygen", "openssh-client"));

    /// <inheritdoc/>
    public async Task<IBootedGuest> BootAsync(IReadOnlyList<GuestDisk> disks, IReadOnlyList<int> hostCpus, CancellationToken cancellation)
    {
        bool isEmulated = MachineCache.IsEmulated();
        MachineCache.OnProgress($"booting {Path.GetFileName(image.Path)} as the virtual machine{(isEmulated ? "; emulated, that takes minutes" : "")}");
        ImageVm machine = ImageVm.Start(new ImageVmSettings(image, memoryMib, cpus, hostCpus, limit, disks, s_programs));
        var guest = new Guest(machine, new SshMachine("root@127.0.0.1", options: machine.SshOptions));
        try
        {
            TimeSpan patience = isEmulated ? s_patienceEmulated : s_patience;
            await guest.AnswerAsync(patience, cancellation).ConfigureAwait(false);
            await guest.SetUpAsync(Path.GetFileName(image.Path), [.. disks.Select((_, index) => GuestDisk.SlotOf(index))], patience, cancellation).ConfigureAwait(false);
            return guest;
        }
        catch (MethodException e)
        {
            GuestException failure = await machine.FailureAsync(e.Message).ConfigureAwait(false);
            await guest.DisposeAsync().ConfigureAwait(false);
            if (failure.IsMachineFault)
            {
                throw failure;
            }

            throw;
        }
        catch
        {
            await guest.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    private sealed class Guest(ImageVm machine, SshMachine ssh) : IBootedGuest
    {
        /// <summary>ssh's own status when it did not get there, or lost its way.</summary>
        private const int SshFailed = 255;

        private static readonly TimeSpan s_attempt = TimeSpan.FromMinutes(1);

        /// <summary>What a disk that does not appear adds.</summary>
        private static readonly TimeSpan s_patienceOfDisk = TimeSpan.FromMinutes(1);

        /// <summary>The image's own programs come first.</summary>
        private const string Prelude = $"PATH=$PATH:/usr/sbin:/sbin:{ProgramsFolder}/bin\n";

        public string FioVersion { get; private set; } = "fio";

        public string System { get; private set; } = "";

        public IReadOnlyList<string> MissingSlots { get; private set; } = [];

        public IReadOnlyList<int> ProcessIds => machine.QemuProcessId is int pid ? [pid] : [];

        /// <summary>Waits until ssh gets in.</summary>
        public async Task AnswerAsync(TimeSpan patience, CancellationToken cancellation)
        {
            using var limit = new CancellationTokenSource(patience);
            string said = "";
            while (!limit.IsCancellationRequested)
            {
                if (machine.HasEnded)
                {
                    throw await machine.FailureAsync("The machine ended before it answered by ssh.").ConfigureAwait(false);
                }

                if (machine.IsDead)
                {
                    throw await machine.FailureAsync("A processor of the machine has no timer any more.").ConfigureAwait(false);
                }

                GuestCommandResult result = await TryAsync(cancellation).ConfigureAwait(false);
                if (result.ExitCode == 0)
                {
                    return;
                }

                said = result.Errors.Length > 0 ? result.Errors : said;
                bool isRefused = said.Contains("Permission denied", StringComparison.Ordinal);
                await Task.Delay(isRefused ? s_pauseRefused : s_pause, cancellation).ConfigureAwait(false);
            }

            throw await machine.FailureAsync(string.Create(
                CultureInfo.InvariantCulture,
                $"The image did not let root in by ssh within {patience.TotalMinutes:F0} minutes ({said}). It needs to boot by BIOS, and cloud-init (the NoCloud data source) and sshd."))
                .ConfigureAwait(false);
        }

        /// <summary>Finds the disks and the programs.</summary>
        public async Task SetUpAsync(string imageName, string[] slots, TimeSpan patience, CancellationToken cancellation)
        {
            GuestCommandResult result = await RunAsync(
                SetUp(slots, (int)patience.TotalSeconds), patience + (s_patienceOfDisk * (slots.Length + 2)), () => { }, cancellation).ConfigureAwait(false);
            if (result.ExitCode != 0 || result.Output.Split('\n') is not [string fio, string system, string missing, ..])
            {
                throw new MethodException($"{imageName}: {(result.Errors.Length > 0 ? result.Errors : $"the first script ended with {result.ExitCode}")}");
            }

            (FioVersion, System) = (fio, $"{system}, from {imageName}");
            MissingSlots = missing.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        }

        public async Task<GuestCommandResult> RunAsync(string script, TimeSpan limit, Action onMark, CancellationToken cancellation)
        {
            GuestCommandResult result = await ssh.RunAsync(Prelude + script, limit, onMark, cancellation).ConfigureAwait(false);
            return result.ExitCode != SshFailed ? result
                : throw new MethodException($"the virtual machine failed: {(await machine.FailureAsync($"ssh lost it: {result.Errors}").ConfigureAwait(false)).Message}");
        }

        public ValueTask DisposeAsync() => machine.DisposeAsync();

        /// <summary>One attempt.</summary>
        private async Task<GuestCommandResult> TryAsync(CancellationToken cancellation)
        {
            try
            {
                return await ssh.RunAsync("exit 0", s_attempt, () => { }, cancellation).ConfigureAwait(false);
            }
            catch (MethodException e)
            {
                return new GuestCommandResult(SshFailed, "", e.Message);
            }
        }

        /// <summary>Prints fio's version, what the system is, and the slots whose disks are missing.</summary>
        private static string SetUp(IEnumerable<string> slots, int patienceSeconds) => $$"""
            ! command -v cloud-init >/dev/null || timeout {{patienceSeconds}} cloud-init status --wait >/dev/null 2>&1
            modprobe virtio_blk 2>/dev/null
            disk() { for found in /sys/bus/pci/devices/0000:00:$1.0/virtio*/block/*; do [ -e "$found" ] && echo "/dev/${found##*/}" && return; done; return 1; }
            wait_for() { for second in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do disk "$1" && return; sleep 1; done; return 1; }
            programs=$(wait_for {{ImageVm.ProgramsSlot}}) && mkdir -p {{ProgramsFolder}} && mount -t vfat -o ro,exec "${programs}1" {{ProgramsFolder}} 2>/tmp/polyblk-mount
            fio --version || {
              cat /tmp/polyblk-mount >&2
              echo "fio runs neither from the image nor from this host. Put it into the image: virt-customize -a IMAGE --install fio" >&2
              exit 1
            }
            ! command -v udevadm >/dev/null || udevadm settle
            (. /etc/os-release 2>/dev/null; echo "${PRETTY_NAME:-a system without os-release}, Linux $(uname -r)")
            missing=
            for slot in {{string.Join(' ', slots)}}; do
              device=$(wait_for "$slot") && ln -sf "$device" "/dev/slot$slot" || missing="$missing $slot"
            done
            echo "$missing"
            """;
    }
}
