// The kernel's own RAID of the same level, over loop devices on files like the members. Root. The array is made without a resync
// (--assume-clean), under a name that has this process's id in it; only what was made here is stopped and detached.

using System.Globalization;
using Polyblk.Compare.Load;
using Polyblk.Compare.Results;
using Polyblk.Core.Interop;

namespace Polyblk.Compare.Methods;

/// <summary>The peer: an mdadm array.</summary>
public sealed class MdArray(string level) : IDeliveryMethod
{
    private static readonly MethodNeeds s_needs = new() { KernelModules = ["md_mod", "loop"], Privileges = ["root"], Programs = ["mdadm", "losetup"] };

    public MethodFacts Facts { get; } = KnownFacts.Peer("mdadm", string.Empty, $"mdadm, {level}", Vantage.Host, Backing.Volume, s_needs) with { Reaches = [Consumer.Container], Features = KnownFacts.PeerFeatures("mdadm") };

    public string Description => $"the kernel's {level} over loop devices on member-sized files; its own thread is counted, the loop driver's cannot be";

    public MethodAvailability Check() =>
        ProgramPath.TryFind("mdadm") is null ? new MethodAvailability(false, "mdadm is not installed", ["apt-get install mdadm"])
        : LoopDevice.CheckHost() is { CanRun: false } loop ? loop
        : !File.Exists("/proc/mdstat") ? new MethodAvailability(false, "the kernel has no md driver loaded (no /proc/mdstat)", [$"modprobe md_mod && modprobe {Module(level)}", "polyblk compare --inside-guest"])
        : MethodAvailability.Yes;

    public async Task<IRunningMethod> StartAsync(ScratchSpace scratch, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(scratch);
        var running = new Running(scratch.SpanBytes);
        try
        {
            await running.MakeAsync(scratch, level, cancellation).ConfigureAwait(false);
            return running;
        }
        catch
        {
            await running.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    private static string Module(string level) => level is "raid5" or "raid6" ? "raid456" : level;

    private sealed class Running(long spanBytes) : IRunningMethod
    {
        // The chunk that this program's arrays have by default. The superblock is md's own.
        private const int ChunkKib = 64;

        private readonly string _device = $"/dev/md/polyblk-compare-{Environment.ProcessId}";
        private readonly List<string> _loops = [];
        private readonly List<string> _commands = [];
        private string? _node;

        public LoadEndpoint Endpoint => new BlockEndpoint(_node!, spanBytes);

        /// <summary>md's thread for this array, such as md127_raid5.</summary>
        public IReadOnlyList<int> ProcessIds { get; private set; } = [];

        public IReadOnlyList<string> Commands => _commands;

        public async Task MakeAsync(ScratchSpace scratch, string level, CancellationToken cancellation)
        {
            for (int i = 0; i < scratch.Members; i++)
            {
                string file = scratch.PathOf($"md-member{i}.img");
                await ScratchFile.CreateAsync(file, scratch.MemberBytes, cancellation).ConfigureAwait(false);
                _commands.Add(ScratchFile.Command(file, scratch.MemberBytes));
                (string loop, string command) = await LoopDevice.AttachAsync(file, cancellation).ConfigureAwait(false);
                _loops.Add(loop);
                _commands.Add(command);
            }

            string[] create =
            [
                "mdadm", "--create", _device, "--run", "--quiet", "--assume-clean", "--homehost=any", $"--level={level[4..]}", $"--chunk={ChunkKib}K",
                $"--raid-devices={scratch.Members}", .. _loops,
            ];
            _commands.Add(string.Join(' ', level == "raid1" ? create.Where(a => !a.StartsWith("--chunk", StringComparison.Ordinal)) : create));

            // Not cancelled half-way, as loop devices are not.
            cancellation.ThrowIfCancellationRequested();
            await Command.RunAsync(_commands[^1].Split(' '), CancellationToken.None).ConfigureAwait(false);
            _node = (await Command.RunAsync(["readlink", "-f", _device], CancellationToken.None).ConfigureAwait(false)).Trim();
            ProcessIds = KernelThreads($"{Path.GetFileName(_node)}_{level}");
        }

        public async ValueTask DisposeAsync()
        {
            if (_node is not null || File.Exists(_device))
            {
                await Command.RunAsync(["mdadm", "--stop", _node ?? _device], CancellationToken.None).ConfigureAwait(false);
                _node = null;
            }

            foreach (string loop in _loops)
            {
                await LoopDevice.DetachAsync(loop).ConfigureAwait(false);
            }

            _loops.Clear();
        }

        private static int[] KernelThreads(string name) =>
        [
            .. Directory.EnumerateDirectories("/proc")
                .Select(d => int.TryParse(Path.GetFileName(d), CultureInfo.InvariantCulture, out int pid) ? pid : 0)
                .Where(pid => pid > 0 && NameOf(pid) == name),
        ];

        private static string NameOf(int pid)
        {
            try
            {
                return File.ReadAllText($"/proc/{pid}/comm").Trim();
            }
            catch (IOException)
            {
                // It ended meanwhile.
                return string.Empty;
            }
        }
    }
}
